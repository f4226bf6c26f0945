//! The files that a command reads, or keeps its state in: no report takes the place of one, by whatever name.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::failure::Refusal;
use crate::config::{ApiSettings, InventorySettings, LedgerSettings, SelectionSettings};
use crate::ledger::{RunInfo, beside};
use crate::report::destination;
use crate::text::escape_path;

/// What SQLite, a run and a rehearsal keep beside a ledger.
const BESIDE_A_LEDGER: [&str; 5] = ["-wal", "-shm", "-journal", ".lock", ".world"];

/// A ledger, and what lies beside it: by whatever link it is named, beside the file itself.
fn with_neighbours(ledger: PathBuf) -> impl Iterator<Item = PathBuf> {
    let target = fs::canonicalize(&ledger).unwrap_or_else(|_| destination(&ledger));
    std::iter::once(ledger).chain(BESIDE_A_LEDGER.map(|suffix| beside(&target, suffix)))
}

/// Files that are spared, there already or not.
pub(super) struct Spared(Vec<PathBuf>);

impl Spared {
    /// What every command reads: the configuration, and the ledgers (its own, the usual one, the rehearsals') with what
    /// lies beside them.
    pub(super) fn new(ledger: &LedgerSettings) -> Self {
        let ledgers = ledger.files.iter().cloned().flat_map(with_neighbours);
        Self(ledger.config_file.iter().cloned().chain(ledgers).collect())
    }

    pub(super) fn inventory(self, inventory: &InventorySettings) -> Self {
        let files = inventory.files.iter().filter(|file| *file != Path::new("-")).cloned();
        self.with(files).selection(&inventory.selection)
    }

    pub(super) fn selection(self, selection: &SelectionSettings) -> Self {
        self.with(selection.files())
    }

    pub(super) fn api(self, api: &ApiSettings) -> Self {
        self.with(api.files())
    }

    /// What a recorded run was made from: it is not read again, but somebody keeps it.
    pub(super) fn recorded(self, run: &RunInfo) -> Self {
        let lists = run.options.get("vmid").map(|ids| ids.as_array().cloned().unwrap_or(vec![ids.clone()]));
        let lists = lists.unwrap_or_default();
        let lists = lists.iter().filter_map(|ids| ids.as_str()?.trim_start_matches('!').strip_prefix('@'));
        let files = run.inventory.iter().map(|file| file.path.as_str()).filter(|path| *path != "-");
        self.with(files.chain(lists).map(PathBuf::from))
    }

    fn with(mut self, more: impl Iterator<Item = PathBuf>) -> Self {
        self.0.extend(more);
        self
    }

    /// Refuses an output that is one of these files, or another output.
    pub(super) fn check<'o>(&self, outputs: impl Iterator<Item = &'o PathBuf>) -> Result<(), Refusal> {
        let spared: Vec<Identity> = self.0.iter().filter_map(|path| Identity::of(path)).collect();
        let mut seen: Vec<(Identity, &PathBuf)> = Vec::new();
        for output in outputs {
            let Some(identity) = Identity::of(output) else { continue };
            if spared.contains(&identity) {
                return Err(Refusal::usage(anyhow::anyhow!(
                    "{}: the run reads this file, and the report would take its place; name another one",
                    escape_path(output)
                )));
            }
            if let Some((_, other)) = seen.iter().find(|(other, _)| *other == identity) {
                return Err(Refusal::usage(anyhow::anyhow!(identity.taken_twice(other, output))));
            }
            seen.push((identity, output));
        }
        Ok(())
    }
}

/// Tells one file from another, by whatever names and links they go.
#[derive(Debug, PartialEq, Eq)]
enum Identity {
    Stdout,
    There {
        file_system: u64,
        number: u64,
    },
    /// Still to be made.
    At(PathBuf),
}

impl Identity {
    /// Why two outputs cannot both have it.
    fn taken_twice(&self, first: &Path, second: &Path) -> String {
        match self {
            Self::Stdout => {
                "standard output is one file, and takes one report; name a file for the other".to_owned()
            }
            _ => format!(
                "{} and {} are one file; each report needs one of its own",
                escape_path(first),
                escape_path(second)
            ),
        }
    }

    /// `None` for a device, which many may write to at once, and for what cannot be looked at.
    fn of(path: &Path) -> Option<Self> {
        match fs::metadata(path) {
            _ if path == Path::new("-") => Some(Self::Stdout),
            Ok(found) if found.file_type().is_char_device() => None,
            Ok(found) => Some(Self::There { file_system: found.dev(), number: found.ino() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = destination(path);
                let directory = path.parent().filter(|parent| *parent != "").unwrap_or(Path::new("."));
                let directory = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
                Some(Self::At(directory.join(path.file_name()?)))
            }
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Whether the outputs are refused where these are the inputs, all in one directory.
    fn refused(dir: &Path, inputs: &[&str], outputs: &[&str]) -> bool {
        let paths = |names: &[&str]| names.iter().map(|name| dir.join(name)).collect::<Vec<_>>();
        Spared(paths(inputs)).check(paths(outputs).iter()).is_err()
    }

    #[test]
    fn an_input_is_known_by_whatever_name_an_output_has() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("sub")).unwrap();
        fs::write(at("ids.csv"), "1").unwrap();
        fs::hard_link(at("ids.csv"), at("hard.csv")).unwrap();
        symlink("ids.csv", at("soft.csv")).unwrap();
        symlink("soft.csv", at("softer.csv")).unwrap();
        symlink("to-be.db", at("to-be.csv")).unwrap();
        symlink(".", at("here")).unwrap();
        for (inputs, outputs, expected) in [
            (&["ids.csv"][..], &["ids.csv"][..], true),
            (&["ids.csv"], &["sub/../ids.csv"], true),
            (&["ids.csv"], &["here/ids.csv"], true),
            (&["ids.csv"], &["hard.csv"], true),
            (&["ids.csv"], &["softer.csv"], true),
            (&["softer.csv"], &["ids.csv"], true),
            (&["to-be.db"], &["to-be.csv"], true),
            (&["to-be.db"], &["here/to-be.csv"], true),
            (&["to-be.db"], &["sub/to-be.db"], false),
            (&["to-be.db", "ids.csv"], &["other.csv", "sub/ids.csv"], false),
            (&[], &["a.csv", "b.csv"], false),
            (&[], &["a.csv", "here/a.csv"], true),
            (&[], &["hard.csv", "b.csv", "soft.csv"], true),
            (&[], &["nosuch/a.csv", "nosuch/a.csv"], true),
        ] {
            assert_eq!(refused(dir.path(), inputs, outputs), expected, "{inputs:?} {outputs:?}");
        }
        symlink("/dev/null", at("null.csv")).unwrap();
        symlink("/dev/null", at("null.json")).unwrap();
        assert!(!refused(dir.path(), &[], &["null.csv", "null.json"]), "nothing can be lost there");
    }
}
