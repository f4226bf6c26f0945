//! One file of an inventory, or of ids: what identifies it, and what was in it.

use std::fs;
use std::path::{self, Path};

use serde::Serialize;

/// The identity of a file that can be read only once: standard input, or a pipe.
pub const PIPE: &str = "-";

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InventoryFile {
    /// As it was named on the command line; `-` is standard input.
    pub path: String,
    /// Of its bytes, in lower-case hex.
    pub sha256: String,
}

/// What identifies a file, whatever is in it: its path as typed, made absolute, no link followed; all pipes are [`PIPE`].
pub fn identity(file: &Path) -> String {
    match is_pipe(file) {
        true => PIPE.to_owned(),
        false => path::absolute(file).unwrap_or_else(|_| file.to_owned()).display().to_string(),
    }
}

pub(super) fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

/// Whether it can be read only once.
pub(super) fn is_pipe(file: &Path) -> bool {
    is_stdin(file) || fs::metadata(file).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_known_by_its_path_wherever_its_links_lead() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for release in ["one", "two"] {
            fs::create_dir(path(release)).unwrap();
            fs::write(path(release).join("fleet.csv"), release).unwrap();
        }
        let known = |release: &str| {
            let _ = fs::remove_file(path("data"));
            symlink(release, path("data")).unwrap();
            identity(&path("data/./fleet.csv"))
        };
        assert_eq!(known("one"), known("two"));
        assert_eq!(known("one"), path("data/fleet.csv").display().to_string());
        assert_ne!(identity(&path("one/fleet.csv")), identity(&path("two/fleet.csv")));
        let here = std::env::current_dir().unwrap().join("fleet.csv").display().to_string();
        assert_eq!(identity(Path::new("fleet.csv")), here);
        assert_eq!([identity(Path::new("-")), identity(Path::new("/dev/null"))], [PIPE, PIPE]);
    }
}
