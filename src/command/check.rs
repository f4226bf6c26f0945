//! `v6fleet check`: all that could fail at night, looked at without a call for any VM. Nothing is written.
//!
//! Each file below decides, pure, what one kind of thing that was seen means; what is seen is seen here.

mod key;
mod ledger;
mod place;
mod way;

use super::access::{Access, extra_roots};
use super::descriptors::make_room;
use super::dry_run::{self, Prepared};
use super::failure::{Broken, Failure, Refusal};
use super::job::job;
use super::rehearsal::{serve, world};
use super::spared::Spared;
use super::stdout::print_as;
use super::{config, exit, outputs};
use crate::api::{BaseUrl, Way};
use crate::check::{self, Check, Finding};
use crate::clock;
use crate::config::{ApiKey, ApiSettings, CheckSettings, ConfigError, Form, RunSettings, Setting};
use crate::inventory::{Inputs, InventoryFile, Selection};
use crate::ledger::{Ledger, LedgerError, NewRun, SANDBOX};
use crate::report::{Format, ReportFile};
use crate::sandbox::Running;
use crate::text::escape_path;
use ledger::{Held, Kept};
use place::Place;
use way::Course;

/// Returns the exit code.
pub(super) fn check(settings: &CheckSettings) -> Result<u8, Failure> {
    let CheckSettings { run, in_force, strangers } = settings;
    let mut findings = vec![told(in_force, strangers)];
    findings.extend(descriptors(run));
    findings.push(reports(run));
    let key = key_of(run);
    findings.push(key::found(&key));
    findings.extend(kept(run));
    findings.extend(called(run, key)?);
    let text = match run.reports.recap {
        Form::Text => check::text(&findings),
        Form::Json => check::json(&findings, &in_force.iter().map(config::json_of).collect()),
    };
    print_as(run.reports.recap, &text)?;
    Ok(check::exit_code(&findings))
}

/// Which settings somebody wrote, and what looks like one and is none.
fn told(in_force: &[Setting], strangers: &[String]) -> Finding {
    let written = in_force.iter().filter(|setting| !setting.is_default()).map(ToString::to_string);
    let written = written.collect::<Vec<_>>().join(", ");
    let written = if written.is_empty() { "all by default".to_owned() } else { written };
    match strangers {
        [] => Finding::ok(Check::Settings, written),
        several => Finding::warning(Check::Settings, format!("{written}; {}", several.join("; ")))
            .with_remedy("spell it as `v6fleet COMMAND --help` does, or unset it"),
    }
}

/// Told where there are too few.
fn descriptors(run: &RunSettings) -> Option<Finding> {
    let room = make_room(run.calls.reconcile.concurrency.get(), run.ledger.sandbox);
    room.err().map(|refusal| refused(Check::Descriptors, refusal))
}

fn refused(check: Check, refusal: Refusal) -> Finding {
    let failure = Failure::from(refusal);
    Finding::error(check, failure.in_words(), failure.exit_code())
}

fn reports(run: &RunSettings) -> Finding {
    let RunSettings { reports, inventory, api, .. } = run;
    let spared = Spared::new(&run.ledger).inventory(inventory).api(api);
    if let Err(refusal) = outputs::spare(&spared, reports, inventory.skip_invalid) {
        return refused(Check::Reports, refusal);
    }
    if let Err(error) = reports.files.iter().try_for_each(ReportFile::look) {
        return refused(Check::Reports, error.into())
            .with_remedy("have it so that it can be written, or name another file with -o");
    }
    let cramped = reports.files.iter().find_map(cramped);
    let directory = reports.directory.as_ref().map(|typed| place::reports(typed, &Place::look(typed)));
    // What keeps a run from its beginning has a higher code than what it ends with.
    let found = [cramped, directory].into_iter().flatten().max_by_key(|finding| finding.exit_code);
    found.unwrap_or_else(|| Finding::ok(Check::Reports, "no directory is asked for"))
}

/// What is written to pipes and devices takes no room.
fn cramped(file: &ReportFile<Format>) -> Option<Finding> {
    let takes_room = !file.is_stdout() && file.path.metadata().map_or(true, |found| found.is_file());
    let directory = file.path.parent().filter(|_| takes_room)?;
    place::file(&file.path, &Place::look(directory))
}

fn key_of(run: &RunSettings) -> Result<ApiKey, ConfigError> {
    match run.ledger.sandbox {
        true => Ok(ApiKey::of_sandbox()),
        false => ApiKey::find(run.api.key_file.as_deref()),
    }
}

/// The ledger, and what the inventory comes to with it.
fn kept(run: &RunSettings) -> Vec<Finding> {
    let location = &run.ledger.location;
    let mut inputs = Inputs::default();
    let selection = run.inventory.selection.read().map_err(Refusal::from);
    let (ledger, kept) = match open(run) {
        Ok(None) => (None, Ok(Kept::NotYet)),
        Ok(Some(ledger)) => {
            let kept = look_into(&ledger, job_of(run, selection.as_ref().ok(), &mut inputs));
            (Some(ledger), kept)
        }
        Err(error) => (None, Err(error)),
    };
    let (inventory, vms) = match selection {
        Ok(selection) => inventory(run, &selection, ledger.as_ref(), kept.is_err(), &mut inputs),
        Err(refusal) => (refused(Check::Inventory, refusal), None),
    };
    let mut findings = Vec::from(ledger::told(&escape_path(&location.as_path()), kept, run.lock_timeout));
    findings.extend(location.file().map(|file| place::space(&Place::look(file), vms)));
    findings.push(inventory);
    findings
}

/// `None` where there is no ledger yet.
fn open(run: &RunSettings) -> Result<Option<Ledger>, LedgerError> {
    run.ledger.location.check_writable()?;
    let ledger = match Ledger::open_read_only(&run.ledger.location) {
        Err(LedgerError::Missing(_)) => return Ok(None),
        opened => opened?,
    };
    ledger.check_kind(if run.ledger.sandbox { SANDBOX } else { run.base_url.as_str() })?;
    Ok(Some(ledger))
}

/// The job that the run would be of, with the hashes of what it is piped; `None` where the inventory does not tell.
fn job_of(
    run: &RunSettings,
    selection: Option<&Selection>,
    inputs: &mut Inputs,
) -> Option<(NewRun, Vec<InventoryFile>)> {
    let files = &run.inventory.files;
    let job = job(run, selection.filter(|_| !files.is_empty())?, None);
    let digests = if job.is_piped() { inputs.digests(files).ok()? } else { Vec::new() };
    Some((job, digests))
}

fn look_into(ledger: &Ledger, job: Option<(NewRun, Vec<InventoryFile>)>) -> Result<Kept, LedgerError> {
    let held = match job {
        Some((job, files)) => Held::of(ledger.holder_of(&job, &files)?),
        // Whoever works on another job keeps nobody from it.
        None if ledger.is_shared() => Held::Unknown,
        None => Held::of(ledger.holder()?),
    };
    Ok(Kept::There { schema: ledger.schema()?, held })
}

/// What a dry run finds, and how many VMs would be called.
fn inventory(
    run: &RunSettings,
    selection: &Selection,
    ledger: Option<&Ledger>,
    is_broken: bool,
    inputs: &mut Inputs,
) -> (Finding, Option<u64>) {
    let unchecked = |why: &str| (Finding::unchecked(Check::Inventory, why), None);
    let looks_back = run.resume || run.only_failed.is_some() || run.only_planned.is_some();
    let foreseen = match ledger {
        _ if run.inventory.files.is_empty() => return unchecked("none was named"),
        None if is_broken && looks_back => return unchecked("the ledger cannot be opened"),
        None => dry_run::foresee(run, selection, None, inputs),
        Some(ledger) => ledger.as_of_now(|ledger| dry_run::foresee(run, selection, Some(ledger), inputs)),
    };
    match foreseen {
        Ok(Prepared { says, selected, warnings, exit_code, .. }) => {
            (inventory_told(says, warnings, exit_code), Some(selected))
        }
        Err(failure) => (Finding::error(Check::Inventory, failure.in_words(), failure.exit_code()), None),
    }
}

fn inventory_told(says: String, warnings: Vec<String>, exit_code: u8) -> Finding {
    if warnings.is_empty() && exit_code == exit::COMPLETE {
        return Finding::ok(Check::Inventory, says);
    }
    let says = std::iter::once(says).chain(warnings).collect::<Vec<_>>().join("; ");
    Finding::warning(Check::Inventory, says).ending_with(exit_code)
}

/// The way to the API, and whether it takes the key.
fn called(run: &RunSettings, key: Result<ApiKey, ConfigError>) -> Result<Vec<Finding>, Failure> {
    let (_rehearsal, base_url) = match callee(run) {
        Ok(callee) => callee,
        Err(refusal) => return Ok(nowhere(refused(Check::Api, refusal))),
    };
    let way = match way(run, &base_url) {
        Ok(way) => way,
        Err(finding) => return Ok(nowhere(finding)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Broken::new)?;
    let findings = runtime.block_on(async {
        let mut findings = walk(&way, run).await;
        let is_reached = !findings.iter().any(Finding::is_error);
        findings.push(access(run, &base_url, key, is_reached).await);
        findings
    });
    // A name look-up that still hangs must not keep us.
    runtime.shutdown_background();
    Ok(findings)
}

/// The base URL to check. In a rehearsal it is that of a sandbox, which serves until the first of the two is dropped.
fn callee(run: &RunSettings) -> Result<(Option<Running>, BaseUrl), Refusal> {
    if !run.ledger.sandbox {
        return Ok((None, run.base_url.clone()));
    }
    let (running, base_url) = serve(None, world(run.api.world.as_deref())?)?;
    Ok((Some(running), base_url))
}

/// How the API is reached. The error is the finding that no attempt can be made, say for unusable certificates.
fn way(run: &RunSettings, base_url: &BaseUrl) -> Result<Way, Finding> {
    let ApiSettings { ca_file, proxy, connect_timeout, timeout, .. } = &run.api;
    let roots = extra_roots(ca_file.as_deref()).map_err(|refusal| unusable(Check::Certificate, refusal))?;
    let way = Way::new(base_url, run.dialect, proxy.as_ref(), roots.as_deref(), *connect_timeout, *timeout);
    way.map_err(|error| unusable(way::of_client(&error), error.into()))
}

/// The finding of a refusal. One about certificates does not say what to do: that is added.
fn unusable(check: Check, refusal: Refusal) -> Finding {
    let finding = refused(check, refusal);
    match check {
        Check::Certificate => {
            finding.with_remedy("name a file of certificates in PEM with --ca-file, or none")
        }
        _ => finding,
    }
}

fn nowhere(finding: Finding) -> Vec<Finding> {
    let rest = [Check::Name, Check::Tcp, Check::Tls, Check::Api, Check::Clock, Check::Access];
    let rest = rest.into_iter().filter(|check| *check != finding.check);
    let rest: Vec<Finding> = rest.map(|check| Finding::unchecked(check, "no call can be made")).collect();
    std::iter::once(finding).chain(rest).collect()
}

/// Goes the way, as far as it leads.
async fn walk(way: &Way, run: &RunSettings) -> Vec<Finding> {
    let course =
        Course { dialect: run.dialect, is_encrypted: way.is_encrypted(), is_proxied: way.is_proxied() };
    let (host, port) = (way.host(), way.port());
    let found = way.resolve().await;
    let mut findings = vec![way::proxy(course, host, port, run.api.proxy.is_some()), way::name(host, &found)];
    let Some(addresses) = found.ok().filter(|addresses| !addresses.is_empty()) else {
        let why = "the name cannot be resolved";
        findings.push(Finding::unchecked(Check::Tcp, why));
        findings.extend(way::beyond_reach(why));
        return findings;
    };
    let connected = way.connect(&addresses).await;
    findings.push(way::tcp(host, port, &connected));
    match connected {
        Ok(()) => findings.extend(way::beyond(course, &way.knock().await, clock::now())),
        Err(_) => findings.extend(way::beyond_reach("there is no connection")),
    }
    findings
}

/// Whether the API takes the key.
async fn access(
    run: &RunSettings,
    base_url: &BaseUrl,
    key: Result<ApiKey, ConfigError>,
    is_reached: bool,
) -> Finding {
    let key = match key {
        _ if !is_reached => return Finding::unchecked(Check::Access, "the API is not reached"),
        _ if !run.dialect.can_list() => {
            return Finding::unchecked(
                Check::Access,
                "v1 tells of a call for a VM alone whether it takes the key",
            );
        }
        Err(_) => return Finding::unchecked(Check::Access, "there is no key"),
        Ok(key) => key,
    };
    match Access::with(&run.api, key, run.ledger.sandbox).api(base_url, run.dialect) {
        Ok(api) => key::taken(&api.list_one().await.result),
        Err(refusal) => refused(Check::Access, refusal),
    }
}
