//! Where the ledger is: as named, else in the user's state directory, a rehearsal's apart from the real one.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::ConfigError;
use super::file;
use super::places::home;
use crate::cli::CommonArgs;
use crate::ledger::{Location, beside};
use crate::text::quoted;

/// The ledger of a command, and how it is named.
#[derive(Debug, Clone)]
pub(crate) struct LedgerSettings {
    pub(crate) location: Location,
    /// Where a rehearsal remembers its world; `None` where there is no place for it.
    pub(crate) world: Option<PathBuf>,
    /// A rehearsal's is meant, and no other.
    pub(crate) sandbox: bool,
    /// The files of this ledger and of those in their usual places, whether or not they are there.
    pub(crate) files: Vec<PathBuf>,
    /// The configuration file that is read, if it is there.
    pub(crate) config_file: Option<PathBuf>,
    /// `--config` and `--ledger`, as far as they were named.
    named: String,
}

impl LedgerSettings {
    pub(super) fn of(common: &CommonArgs, sandbox: bool) -> Result<Self, ConfigError> {
        let usual = usual_places();
        let location = match (&common.ledger, &usual) {
            (Some(typed), _) => Location::of(typed)?,
            (None, Some([real, rehearsals])) => {
                Location::File(if sandbox { rehearsals } else { real }.clone())
            }
            (None, None) => return Err(ConfigError::NoHome),
        };
        let world = match (&location, &usual) {
            (Location::File(path), _) => Some(beside(path, ".world")),
            (Location::Database(url), Some([_, rehearsals])) => Some(world_of(&url.as_path(), rehearsals)),
            (Location::Database(_), None) => None,
        };
        let named = [("config", &common.config), ("ledger", &common.ledger)];
        let named = named.into_iter().filter_map(|(name, path)| Some((name, path.as_ref()?)));
        let named = named.map(|(name, path)| format!(" --{name} {}", quoted(&path.display().to_string())));
        Ok(Self {
            sandbox,
            files: usual.into_iter().flatten().chain(location.file().map(Path::to_owned)).collect(),
            config_file: common.config.clone().or_else(file::usual_place),
            named: named.collect(),
            location,
            world,
        })
    }

    /// Where rehearsals keep theirs, if this is the place of real runs and there is one of theirs.
    pub(crate) fn rehearsals(&self) -> Option<&Path> {
        let [real, rehearsals, ..] = &self.files[..] else { return None };
        let is_meant = !self.sandbox && self.location.file() == Some(real);
        Some(&**rehearsals).filter(|rehearsals| is_meant && rehearsals.exists())
    }

    /// The arguments that name the ledger, and the configuration, in commands shown to people.
    pub(crate) fn args(&self, sandbox: bool) -> String {
        format!("{}{}", self.named, if sandbox { " --sandbox" } else { "" })
    }
}

/// A database has no file for its world to lie beside: it lies beside the rehearsals' usual ledger.
fn world_of(url: &Path, rehearsals: &Path) -> PathBuf {
    let hash = format!("{:x}", Sha256::digest(url.as_os_str().as_encoded_bytes()));
    rehearsals.with_file_name(format!("database-{}.world", &hash[..16]))
}

/// The ledger of real runs and that of rehearsals.
fn usual_places() -> Option<[PathBuf; 2]> {
    let dir = home("XDG_STATE_HOME", ".local/state")?.join("v6fleet");
    Some(["ledger.db", "sandbox.db"].map(|name| dir.join(name)))
}
