//! Where the ledger is: as named, else in the user's state directory, a rehearsal's apart from the real one.

use std::path::PathBuf;

use super::error::ConfigError;
use super::file;
use super::places::home;
use crate::cli::CommonArgs;
use crate::text::quoted;

/// The ledger of a command, and how it is named.
#[derive(Debug, Clone)]
pub(crate) struct LedgerSettings {
    pub(crate) path: PathBuf,
    /// A rehearsal's is meant, and no other.
    pub(crate) sandbox: bool,
    /// This ledger and those in their usual places, whether or not they are there.
    pub(crate) all: Vec<PathBuf>,
    /// The configuration file that is read, if it is there.
    pub(crate) config_file: Option<PathBuf>,
    /// `--config` and `--ledger`, as far as they were named.
    named: String,
}

impl LedgerSettings {
    pub(super) fn of(common: &CommonArgs, sandbox: bool) -> Result<Self, ConfigError> {
        let usual = usual_places();
        let path = match (&common.ledger, &usual) {
            (Some(path), _) => path.clone(),
            (None, Some([real, rehearsals])) => if sandbox { rehearsals } else { real }.clone(),
            (None, None) => return Err(ConfigError::NoHome),
        };
        let named = [("config", &common.config), ("ledger", &common.ledger)];
        let named = named.into_iter().filter_map(|(name, path)| Some((name, path.as_ref()?)));
        let named = named.map(|(name, path)| format!(" --{name} {}", quoted(&path.display().to_string())));
        Ok(Self {
            sandbox,
            all: usual.into_iter().flatten().chain([path.clone()]).collect(),
            config_file: common.config.clone().or_else(file::usual_place),
            named: named.collect(),
            path,
        })
    }

    /// The arguments that name the ledger, and the configuration, in commands shown to people.
    pub(crate) fn args(&self, sandbox: bool) -> String {
        format!("{}{}", self.named, if sandbox { " --sandbox" } else { "" })
    }
}

/// The ledger of real runs and that of rehearsals.
fn usual_places() -> Option<[PathBuf; 2]> {
    let dir = home("XDG_STATE_HOME", ".local/state")?.join("v6fleet");
    Some(["ledger.db", "sandbox.db"].map(|name| dir.join(name)))
}
