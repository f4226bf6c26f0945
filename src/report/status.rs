//! How a run stands, or how it ended: a few lines for people, an object for programs.

use std::fmt::Write;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::api::api;
use super::counts;
use super::runs::{ending, what};
use crate::ledger::{Bulletin, OpenBreakers, Overview, Pacing, is_resumable};
use crate::text::{count, counted, duration, escape, moment, moment_field, moment_for_people};

/// One run, as it is known at one moment.
#[derive(Debug, Clone)]
pub struct Status {
    pub run: Overview,
    /// VMs without an outcome.
    pub pending: u64,
    /// Those who carry it out now.
    pub workers: Vec<Hand>,
    /// What it tells of itself, while it is under way.
    pub bulletin: Option<Bulletin>,
}

/// One of those who carry a run out.
#[derive(Debug, Clone, Serialize)]
pub struct Hand {
    /// With where it is, and since when it is there.
    pub name: String,
    /// What it has done and does; `None` where there is but one, who does everything.
    #[serde(flatten)]
    pub deeds: Option<Deeds>,
}

/// What one of several has done, and does.
#[derive(Debug, Clone, Serialize)]
pub struct Deeds {
    #[serde(serialize_with = "moment_field")]
    pub since: Timestamp,
    /// VMs.
    pub settled: u64,
    /// VMs.
    pub held: u64,
    /// Of late.
    pub calls_per_s: Option<f64>,
    pub in_flight: Option<u64>,
    /// What keeps it from the pace, for people.
    pub hindrance: Option<String>,
}

/// The lines, the last of them with what to type next, if anything.
pub fn text(status: &Status, ledger_args: &str, now: Timestamp) -> String {
    let Status { run, workers, bulletin, .. } = status;
    let api = api(&run.base_url, run.dialect);
    let mut out = format!("Run {}: {}, {}\n", escape(&run.id), what(run), escape(&api));
    let by = match &workers[..] {
        [] => String::new(),
        [one] => format!(" by {}", escape(&one.name)),
        several => format!(" by {} workers", several.len()),
    };
    let when = run.ended_at.map(|end| format!(", at {}", moment_for_people(end))).unwrap_or_default();
    // Who carries it out alone, and has from its beginning, says so himself.
    let says_since = workers.len() == 1 && run.resumes == 0;
    let begun = (!says_since).then(|| format!("; begun at {}", moment_for_people(run.started_at)));
    // Writing to a String cannot fail.
    let _ = writeln!(out, "  {}{by}{when}{}", ending(run), begun.unwrap_or_default());
    let _ = writeln!(out, "  {}", done(status));
    if let Some(bulletin) = bulletin.as_ref().filter(|_| run.running) {
        tell(bulletin, now, &mut out);
        for line in workers.iter().filter_map(deeds) {
            let _ = writeln!(out, "  {line}");
        }
    } else if !run.running {
        let resumable = is_resumable(run.ended_at, run.stopped_by, status.pending);
        let verb = if resumable { "resume" } else { "report" };
        let code = run.exit_code.map(|code| format!("exit code {code}; ")).unwrap_or_default();
        let _ = writeln!(out, "  {code}v6fleet {verb} {}{ledger_args}", escape(&run.id));
    }
    out
}

/// `1,200 of 6,000 VMs: 3 created, 1,197 unchanged`.
fn done(status: &Status) -> String {
    let Status { run, pending, .. } = status;
    let selected = run.counts.selected;
    let settled = count(selected.saturating_sub(*pending));
    let of_all = format!("{settled} of {}", counted(selected, "VM", "VMs"));
    format!("{of_all}: {}", counts::outcomes(&run.counts))
}

/// `pid 7 on host-a since …: 1,200 VMs settled, 16 held; 4.9/s, 8 in flight`.
fn deeds(Hand { name, deeds }: &Hand) -> Option<String> {
    let Deeds { settled, held, calls_per_s, in_flight, hindrance, .. } = deeds.as_ref()?;
    let settled = counted(*settled, "VM", "VMs");
    let rate = calls_per_s.map(|rate| format!("; {rate:.1}/s")).unwrap_or_default();
    let in_flight = in_flight.map(|calls| format!(", {} in flight", count(calls))).unwrap_or_default();
    let hindrance = hindrance.as_deref().map(|why| format!("; {}", escape(why))).unwrap_or_default();
    Some(format!("{}: {settled} settled, {} held{rate}{in_flight}{hindrance}", escape(name), count(*held)))
}

fn tell(bulletin: &Bulletin, now: Timestamp, out: &mut String) {
    let Bulletin { at, calls, calls_per_s, in_flight, left_s, pace, breakers, hindrance, .. } = bulletin;
    let rate = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}/s"));
    let left = left_s.map(|left| format!("; {} left", duration(left))).unwrap_or_default();
    let (late, all) = (rate(*calls_per_s), rate(bulletin.calls_per_s_over_all()));
    let calls = counted(*calls, "call", "calls");
    let _ = writeln!(out, "  {calls}, {late} now, {all} over all; {in_flight} in flight{left}");
    let _ = writeln!(out, "  pace: {}", paced(pace, now));
    // What hinders it is mostly one of these two.
    let alone = left_alone(breakers);
    let other = hindrance.as_deref().filter(|_| alone.is_none() && pace.paused_until.is_none());
    for line in alone.into_iter().chain(other.map(|other| escape(other).into_owned())) {
        let _ = writeln!(out, "  {line}");
    }
    let age = now.duration_since(*at).as_secs_f64();
    if age > STALE_S {
        let _ = writeln!(out, "  it has told nothing for {}: it hangs, or is stopped", duration(age));
    }
}

/// Seconds: a run tells how it stands each second, and may be kept from it for a while.
const STALE_S: f64 = 10.0;

fn paced(pace: &Pacing, now: Timestamp) -> String {
    let Pacing { per_second, whose, paused_until } = pace;
    let limit = match (per_second, whose) {
        (Some(rate), Some(whose)) => format!("{rate:.1}/s, {}", escape(whose)),
        _ => "no limit".to_owned(),
    };
    let left = paused_until.map(|until| until.duration_since(now).as_secs_f64()).filter(|left| *left > 0.0);
    match left {
        Some(left) => format!("paused for {} more, as the API asked; then {limit}", duration(left)),
        None => limit,
    }
}

fn left_alone(breakers: &OpenBreakers) -> Option<String> {
    let OpenBreakers { api, racks, more_racks } = breakers;
    let names: Vec<_> = racks.iter().map(|rack| escape(rack)).collect();
    let more = if *more_racks > 0 {
        format!(" and {}", counted(*more_racks, "more", "more"))
    } else {
        String::new()
    };
    let noun = if racks.len() == 1 { "rack" } else { "racks" };
    let racks = (!names.is_empty()).then(|| format!("{noun} {}{more}", names.join(", ")));
    let all: Vec<String> = api.then(|| "the API".to_owned()).into_iter().chain(racks).collect();
    (!all.is_empty()).then(|| format!("left alone, but for single probes: {}", all.join(", ")))
}

/// The object, on one line.
pub fn json(status: &Status) -> serde_json::Result<String> {
    let Status { run, pending, workers, bulletin } = status;
    let mut object = json!({
        "schema": "v6fleet.status/1",
        "run": serde_json::to_value(run)?,
        "settled": run.counts.selected.saturating_sub(*pending),
        "pending": pending,
        "workers": workers,
    });
    let told = bulletin.as_ref().filter(|_| run.running).map(of_bulletin);
    for (name, value) in told.into_iter().flatten() {
        object[name] = value;
    }
    Ok(format!("{object}\n"))
}

fn of_bulletin(bulletin: &Bulletin) -> [(&'static str, Value); 9] {
    let Bulletin { at, calls, calls_per_s, in_flight, left_s, pace, breakers, hindrance, .. } = bulletin;
    [
        ("told_at", json!(moment(*at))),
        ("calls", json!(calls)),
        ("calls_per_s", json!(calls_per_s)),
        ("calls_per_s_over_all", json!(bulletin.calls_per_s_over_all())),
        ("in_flight", json!(in_flight)),
        ("left_s", json!(left_s)),
        ("pace", json!(pace)),
        ("open_breakers", json!(breakers)),
        ("hindrance", json!(hindrance)),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::runs::tests::overview;
    use super::*;
    use crate::outcome::{Kind, Outcome};
    use crate::stop::Stop;

    const NOW: &str = "2026-11-24T02:20:00Z";

    fn bulletin() -> Bulletin {
        Bulletin {
            at: "2026-11-24T02:19:59.5Z".parse().unwrap(),
            begun_at: "2026-11-24T02:18:19.5Z".parse().unwrap(),
            selected: 6_000,
            outcomes: vec![(Outcome::Unchanged, 990), (Outcome::Failed, 10)],
            calls: 1_010,
            calls_per_s: Some(9.94),
            in_flight: 4,
            left_s: Some(503.0),
            pace: Pacing { per_second: Some(10.0), whose: Some("typed".into()), paused_until: None },
            breakers: OpenBreakers { api: false, racks: vec![], more_racks: 0 },
            hindrance: None,
        }
    }

    fn told(bulletin: Bulletin) -> String {
        let counts = bulletin.counts(Kind::Run);
        let run =
            Overview { running: true, counts, ..overview("20261124T021500Z-0003", "2026-11-24T02:15:00Z") };
        let name = "pid 7 on here since 2026-11-24 02:15:00Z".to_owned();
        let workers = vec![Hand { name, deeds: None }];
        let status = Status { run, pending: 5_000, workers, bulletin: Some(bulletin) };
        text(&status, "", NOW.parse().unwrap())
    }

    #[test]
    fn a_run_under_way_tells_how_far_and_how_fast_it_is_and_who_says_so() {
        insta::assert_snapshot!(told(bulletin()), @r"
        Run 20261124T021500Z-0003: allocate fleet.csv, https://cloud.hostup.se
          running by pid 7 on here since 2026-11-24 02:15:00Z
          1,000 of 6,000 VMs: 0 created, 990 unchanged, 0 updated, 10 failed
          1,010 calls, 9.9/s now, 10.1/s over all; 4 in flight; 8 min 23 s left
          pace: 10.0/s, typed
        ");
    }

    #[test]
    fn what_holds_a_run_is_told() {
        let hindered = Bulletin {
            at: "2026-11-24T02:19:00Z".parse().unwrap(),
            calls_per_s: None,
            left_s: None,
            pace: Pacing { paused_until: Some("2026-11-24T02:20:12Z".parse().unwrap()), ..bulletin().pace },
            breakers: OpenBreakers { api: true, racks: vec!["dc\u{1b}1".into(), "b".into()], more_racks: 2 },
            hindrance: Some("the API fails: probing".into()),
            ..bulletin()
        };
        insta::assert_snapshot!(told(hindered), @r"
        Run 20261124T021500Z-0003: allocate fleet.csv, https://cloud.hostup.se
          running by pid 7 on here since 2026-11-24 02:15:00Z
          1,000 of 6,000 VMs: 0 created, 990 unchanged, 0 updated, 10 failed
          1,010 calls, - now, 24.9/s over all; 4 in flight
          pace: paused for 12.0 s more, as the API asked; then 10.0/s, typed
          left alone, but for single probes: the API, racks dc\u{1b}1, b and 2 more
          it has told nothing for 1 min 0 s: it hangs, or is stopped
        ");
    }

    #[test]
    fn several_workers_are_told_each_with_what_it_does() {
        let hand = |pid, hindrance: Option<&str>| Hand {
            name: format!("pid {pid} on a\u{1b} since 2026-11-24 02:15:00Z"),
            deeds: Some(Deeds {
                since: "2026-11-24T02:15:00.25Z".parse().unwrap(),
                settled: 1_200,
                held: 16,
                calls_per_s: Some(4.94),
                in_flight: Some(8),
                hindrance: hindrance.map(str::to_owned),
            }),
        };
        let since = "2026-11-24T02:19:59.5Z".parse().unwrap();
        let new = Deeds { since, settled: 0, held: 1, calls_per_s: None, in_flight: None, hindrance: None };
        let new = Hand { name: "pid 9 on b since 2026-11-24 02:19:59Z".into(), deeds: Some(new) };
        let run = Overview { running: true, ..overview("20261124T021500Z-0003", "2026-11-24T02:15:00Z") };
        let workers = vec![hand(7, None), hand(8, Some("the API fails: probing")), new];
        let status = Status { run, pending: 5_000, workers, bulletin: Some(bulletin()) };
        insta::assert_snapshot!(text(&status, "", NOW.parse().unwrap()), @r"
        Run 20261124T021500Z-0003: allocate fleet.csv, https://cloud.hostup.se
          running by 3 workers; begun at 2026-11-24 02:15:00Z
          1,000 of 6,000 VMs: 1 created, 5,990 unchanged, 2 updated, 7 failed
          1,010 calls, 9.9/s now, 10.1/s over all; 4 in flight; 8 min 23 s left
          pace: 10.0/s, typed
          pid 7 on a\u{1b} since 2026-11-24 02:15:00Z: 1,200 VMs settled, 16 held; 4.9/s, 8 in flight
          pid 8 on a\u{1b} since 2026-11-24 02:15:00Z: 1,200 VMs settled, 16 held; 4.9/s, 8 in flight; the API fails: probing
          pid 9 on b since 2026-11-24 02:19:59Z: 0 VMs settled, 1 held
        ");
        let json: Value = serde_json::from_str(&json(&status).unwrap()).unwrap();
        assert_eq!(json["workers"][1]["hindrance"], "the API fails: probing");
        assert_eq!(json["workers"][2]["held"], 1);
        assert_eq!(json["workers"][2]["since"], "2026-11-24T02:19:59.500000Z");
    }

    #[test]
    fn how_a_run_ended_is_told_with_what_to_type_next() {
        let ended = Some("2026-11-24T02:25:12Z".parse().unwrap());
        let run =
            || Overview { ended_at: ended, ..overview("20261124T021500Z-0003", "2026-11-24T02:15:00Z") };
        let of = |run, pending| {
            let status = Status { run, pending, workers: vec![], bulletin: None };
            text(&status, " --sandbox", NOW.parse().unwrap())
        };
        let stopped = Overview { stopped_by: Some(Stop::Deadline), exit_code: Some(5), ..run() };
        let complete = Overview { complete: true, exit_code: Some(3), ..run() };
        let died = Overview { ended_at: None, ..run() };
        for (run, pending, verb) in [(&stopped, 0, "report"), (&died, 0, "resume")] {
            assert!(of(run.clone(), pending).contains(&format!("v6fleet {verb} ")), "{run:?}");
        }
        let all = of(stopped, 7) + &of(complete, 0) + &of(died, 9);
        insta::assert_snapshot!(all, @r"
        Run 20261124T021500Z-0003: allocate fleet.csv, https://cloud.hostup.se
          stopped: deadline, at 2026-11-24 02:25:12Z; begun at 2026-11-24 02:15:00Z
          5,993 of 6,000 VMs: 1 created, 5,990 unchanged, 2 updated, 7 failed
          exit code 5; v6fleet resume 20261124T021500Z-0003 --sandbox
        Run 20261124T021500Z-0003: allocate fleet.csv, https://cloud.hostup.se
          complete, at 2026-11-24 02:25:12Z; begun at 2026-11-24 02:15:00Z
          6,000 of 6,000 VMs: 1 created, 5,990 unchanged, 2 updated, 7 failed
          exit code 3; v6fleet report 20261124T021500Z-0003 --sandbox
        Run 20261124T021500Z-0003: allocate fleet.csv, https://cloud.hostup.se
          not finished; begun at 2026-11-24 02:15:00Z
          5,991 of 6,000 VMs: 1 created, 5,990 unchanged, 2 updated, 7 failed
          v6fleet resume 20261124T021500Z-0003 --sandbox
        ");
    }
}
