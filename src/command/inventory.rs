//! `v6fleet inventory`: the account's VMs, from the API's own list.
//!
//! All of them or none: files take their places, and standard output is written to, once the list is whole.

mod too_long;

use std::io;
use std::path::PathBuf;
use std::time::Instant;

use tracing::{info, warn};

use super::access::Access;
use super::exit;
use super::failure::{Broken, Refusal};
use super::rehearsal::{Callee, world};
use super::signals::signals;
use super::spared::Spared;
use super::spool::Spool;
use crate::config::ListingSettings;
use crate::listing::{Asking, ListError, Whole, list};
use crate::pace::Pace;
use crate::report::ReportFile;
use crate::report::listing::{Listing, ListingFiles};
use crate::text::escape_path;
use crate::vm::Listed;
use too_long::TooLong;

/// A list that can be asked for, with where it goes.
pub(super) struct Prepared<'a> {
    settings: &'a ListingSettings,
    callee: Callee,
    outputs: Outputs,
}

pub(super) fn prepare(settings: &ListingSettings) -> Result<Prepared<'_>, Refusal> {
    let ListingSettings { ledger, dialect, api, files, .. } = settings;
    if !dialect.can_list() {
        return Err(Refusal::usage(anyhow::anyhow!(
            "the API's {dialect} has no list of VMs: take --api v2, whose VMs have ids of their own"
        )));
    }
    Spared::new(ledger).api(api).check(files.iter().map(|file| &file.path))?;
    files.iter().try_for_each(ReportFile::check)?;
    let access = Access::find(api, ledger.sandbox)?;
    let callee = match ledger.sandbox {
        true => Callee::embedded(&access, None, world(api.world.as_deref())?, *dialect)?,
        false => Callee::real(access.api(&settings.base_url, *dialect)?),
    };
    Ok(Prepared { settings, callee, outputs: Outputs::begin(settings)? })
}

impl Prepared<'_> {
    /// Returns the exit code.
    pub(super) fn carry_out(self) -> Result<u8, Broken> {
        let Self { settings, callee, mut outputs } = self;
        let mut too_long = TooLong::default();
        let listed = read(settings, &callee, &mut |vm| {
            outputs.vm(vm);
            too_long.note(vm);
        })?;
        let Whole { pages, vms, warnings } = listed.map_err(not_whole)?;
        for warning in warnings.into_iter().chain(too_long.warning()) {
            warn!("{warning}");
        }
        if vms == 0 {
            warn!("the account has no VMs");
        }
        let files = outputs.finish()?;
        info!(pages, vms, "the list is whole");
        for file in files {
            info!(file = escape_path(&file), "inventory written");
        }
        Ok(exit::COMPLETE)
    }
}

fn read(
    settings: &ListingSettings,
    callee: &Callee,
    take: &mut impl FnMut(&Listed),
) -> Result<Result<Whole, ListError>, Broken> {
    let mut pace = Pace::new(settings.rate, None, Instant::now());
    let asking =
        Asking { api: &callee.api, dialect: settings.dialect, policy: settings.policy, pace: &mut pace };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Broken::new)?;
    let mut signals = signals().map_err(Broken::new)?;
    let listed = runtime.block_on(list(asking, &mut signals, take));
    // A call or a name look-up that still hangs must not keep us.
    runtime.shutdown_background();
    Ok(listed)
}

fn not_whole(error: ListError) -> Broken {
    let stop = error.stop();
    let error = anyhow::Error::new(error).context("no inventory was written");
    match stop {
        None => Broken::new(error),
        Some(stop) => Broken::stopped(stop, error),
    }
}

/// Where the VMs go, who are in their places once all of them are there.
enum Outputs {
    Files(ListingFiles),
    Stdout(Listing<Spool>),
    /// Nothing can be kept for standard output.
    Lost(io::Error),
}

impl Outputs {
    fn begin(settings: &ListingSettings) -> Result<Self, Refusal> {
        if !settings.files.is_empty() {
            return Ok(Self::Files(ListingFiles::create(&settings.files)?));
        }
        let kept = Spool::begin().and_then(|spool| Listing::begin(settings.format, spool));
        Ok(kept.map_or_else(Self::Lost, Self::Stdout))
    }

    /// What goes wrong here is told at the end.
    fn vm(&mut self, vm: &Listed) {
        let kept = match self {
            Self::Files(files) => return files.vm(vm),
            Self::Stdout(listing) => listing.vm(vm),
            Self::Lost(_) => return,
        };
        if let Err(error) = kept {
            *self = Self::Lost(error);
        }
    }

    /// Returns the files that were written.
    fn finish(self) -> Result<Vec<PathBuf>, Broken> {
        match self {
            Self::Files(files) => return Ok(files.finish()?),
            Self::Stdout(listing) => listing.finish().map_err(Spool::failed)?.print()?,
            Self::Lost(error) => return Err(Spool::failed(error)),
        }
        Ok(Vec::new())
    }
}
