//! The pace that all workers of one account share: one row, asked last in a batch, so that it is locked for its commit alone.

use std::time::Instant;

use tokio_postgres::{Error, Row};

use super::column;
use super::question::Question;
use crate::pace::{Ask, Exchange, Standing};

const PACE: &str = "SELECT v6fleet.pace($1, $2, $3)";

/// Worker `$1` asks for no slots any more.
pub(super) const LEAVE: &str = "DELETE FROM v6fleet.pacers WHERE worker = $1";

/// What a worker of a run asks.
pub(super) fn asking(run: i64, worker: i64, ask: &Ask) -> Question {
    let ask = serde_json::to_string(ask).unwrap_or_default();
    Question::new(PACE, vec![Box::new(run), Box::new(worker), Box::new(ask)])
}

/// What it was answered; `None` where its run is gone.
pub(super) fn exchange(row: &Row, sent: Instant, received: Instant) -> Result<Option<Exchange>, Error> {
    let standing: Option<Standing> = column::json(row, 0)?;
    Ok(standing.map(|standing| Exchange { sent, received, standing }))
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use support::postgres::Server;

    use super::*;
    use crate::ledger::postgres::{DatabaseUrl, Postgres};
    use crate::pace::model;
    use crate::pace::{Lesson, Moment, Refusal, Tally};

    /// Two runs of one account, one by another key, and one of another API.
    const RUNS: &str = "INSERT INTO v6fleet.bases (url, dialect) VALUES ('https://api.test', 'v1'), ('https://other.test', 'v1');
        INSERT INTO v6fleet.runs (id, base, kind, tool_version, fleet, selection, piped, inventory, id_files, label_columns,
            options, key_fingerprint, timeout_us, warnings, started_at)
        SELECT name, b.id, 'run', '', '', '', '', '', '', '', '', key, 0, '', now()
            FROM (VALUES ('a', 'api', 'k'), ('b', 'api', 'k'), ('c', 'api', 'l'), ('d', 'other', 'k')) AS n (name, host, key)
                JOIN v6fleet.bases b ON b.url = 'https://' || host || '.test' ORDER BY name";

    fn ledger(server: &Server) -> Postgres {
        let url = DatabaseUrl::of(server.url().as_ref()).unwrap().unwrap();
        let postgres = Postgres::open(&url, Duration::ZERO).unwrap();
        postgres.session.batch(RUNS).unwrap();
        postgres
    }

    fn ask(postgres: &Postgres, run: i64, worker: i64, ask: &Ask) -> Standing {
        let question = asking(run, worker, ask);
        let answers = postgres.session.together(&[question]).unwrap();
        let now = Instant::now();
        exchange(&answers[0][0], now, now).unwrap().unwrap().standing
    }

    pub(in crate::ledger::postgres) fn plain(ceiling: Duration) -> Ask {
        Ask {
            ceiling,
            episode: 0,
            tally: Tally::default(),
            pause: None,
            lesson: None,
            slots: 0,
            lead: Duration::ZERO,
            horizon: Duration::from_millis(500),
        }
    }

    /// Around `at`, by up to a second.
    fn around(chance: &mut fastrand::Rng, at: Moment) -> Moment {
        Moment::from_nanos(at.as_nanos().saturating_sub(1_000_000_000) + chance.u64(..2_000_000_000))
    }

    fn tally(chance: &mut fastrand::Rng, at: Moment) -> Tally {
        let refusal = chance.bool().then(|| Refusal {
            left_at: around(chance, at),
            at: around(chance, at),
            is_announced: chance.bool(),
        });
        Tally {
            accepted: chance.u64(..3),
            refused: chance.u64(..3),
            accepted_after: chance.u64(..3),
            first_left: chance.bool().then(|| around(chance, at)),
            last_left: chance.bool().then(|| around(chance, at)),
            refusal,
        }
    }

    fn lesson(chance: &mut fastrand::Rng, seen: &Standing) -> Lesson {
        Lesson {
            version: seen.version + chance.u64(..8) / 7,
            pause: seen.pause.filter(|_| chance.u8(..8) > 0),
            known: format!("{}", chance.u32(..)),
            interval: Duration::from_millis(chance.u64(..20)),
            begins: chance.bool(),
            is_probing: chance.u8(..4) == 0,
        }
    }

    fn any(chance: &mut fastrand::Rng, seen: &Standing) -> Ask {
        Ask {
            ceiling: Duration::from_millis(5),
            episode: seen.episode.saturating_sub(u32::from(chance.u8(..8) == 0)),
            tally: tally(chance, seen.at),
            pause: (chance.u8(..8) == 0).then(|| around(chance, seen.at)),
            lesson: (chance.u8(..3) == 0).then(|| lesson(chance, seen)),
            slots: chance.u32(..50),
            lead: Duration::from_millis(chance.u64(..50)),
            horizon: Duration::from_millis(chance.u64(..500)),
        }
    }

    #[test]
    fn the_row_in_the_database_does_what_its_model_does() {
        let Some(server) = Server::start() else { return };
        let postgres = ledger(&server);
        let mut chance = fastrand::Rng::with_seed(1);
        let mut model = model::Row::new();
        let first = plain(Duration::from_millis(5));
        let mut seen = ask(&postgres, 1, 1, &first);
        assert_eq!(seen, model.answer(&first, seen.at));
        for nth in 0..300 {
            let asked = any(&mut chance, &seen);
            seen = ask(&postgres, chance.i64(1..=2), chance.i64(1..4), &asked);
            assert_eq!(seen, model.answer(&asked, seen.at), "question {nth}: {asked:?}");
        }
    }

    #[test]
    fn the_lowest_rate_of_all_runs_of_the_account_binds() {
        let Some(server) = Server::start() else { return };
        let postgres = ledger(&server);
        let [fast, slow] = [5, 20].map(Duration::from_millis);
        let intervals = [(1, fast), (2, slow), (1, fast), (3, fast), (4, fast)];
        let intervals = intervals.map(|(run, ceiling)| ask(&postgres, run, run, &plain(ceiling)).interval);
        assert_eq!(intervals, [fast, slow, slow, fast, fast]);
    }
}
