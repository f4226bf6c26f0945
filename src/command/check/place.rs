//! Where a run is to write: whether it may, and how much room there is. Looked at without touching anything.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, StatVfs, access, statvfs};

use crate::check::{Check, Finding};
use crate::command::exit;
use crate::ledger::nearest;
use crate::text::escape_path;

/// What a run cannot begin without, in bytes.
const LEAST: u64 = 1 << 20;

/// Less than this soon comes to an end.
const SCARCE: u64 = 64 << 20;

/// What a ledger, with its log, grows by for a VM in a night: a new one by less than a third of it.
const PER_VM: u64 = 4 << 10;

/// A directory, or the nearest one above it that is there.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) directory: PathBuf,
    pub(super) writable: io::Result<()>,
    pub(super) free: io::Result<Free>,
}

/// What is free for those who are not root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Free {
    bytes: u64,
    /// `None` where there may be any number of files.
    files: Option<u64>,
}

impl Place {
    pub(super) fn look(path: &Path) -> Self {
        let directory = nearest(path);
        let writable = match directory.is_dir() {
            true => access(directory, Access::WRITE_OK).map_err(io::Error::from),
            false => Err(io::ErrorKind::NotADirectory.into()),
        };
        let free = statvfs(directory).map(|found| Free::of(&found)).map_err(io::Error::from);
        Self { directory: directory.to_owned(), writable, free }
    }
}

impl Free {
    fn of(found: &StatVfs) -> Self {
        let files = (found.f_files > 0).then_some(found.f_favail);
        Self { bytes: found.f_bavail.saturating_mul(found.f_frsize), files }
    }

    /// Nothing at all can be begun here.
    fn is_none(self) -> bool {
        self.bytes < LEAST || self.files == Some(0)
    }

    fn in_words(self) -> String {
        match self.files {
            Some(0) => "no room for one more file".to_owned(),
            _ => format!("{} free", size(self.bytes)),
        }
    }
}

/// Whether reports can be written to the directory of a run's own.
pub(super) fn reports(typed: &Path, place: &Place) -> Finding {
    let (typed, directory) = (escape_path(typed), escape_path(&place.directory));
    if let Err(error) = &place.writable {
        let says = format!("{typed}: {directory} cannot be written: {error}");
        return Finding::error(Check::Reports, says, exit::USAGE)
            .with_remedy("mend its rights, or name another directory with --output-dir");
    }
    let cramped = cramped(&typed, place);
    let can = |free| Finding::ok(Check::Reports, format!("{typed} can be written{free}"));
    match (cramped, &place.free) {
        (Some(cramped), _) => cramped.with_remedy("make room, or name another directory with --output-dir"),
        (None, Ok(free)) => can(format!(", {}", free.in_words())),
        (None, Err(_)) => can(String::new()),
    }
}

/// Told where there is no room for a report of that name.
pub(super) fn file(name: &Path, place: &Place) -> Option<Finding> {
    let cramped = cramped(&escape_path(name), place)?;
    Some(cramped.with_remedy("make room, or name another file with -o"))
}

/// Whether a file can be made is tried before the first call, but not how much can be written.
fn cramped(name: &str, place: &Place) -> Option<Finding> {
    let free = place.free.as_ref().ok().filter(|free| free.is_none())?;
    let exit_code = if free.files == Some(0) { exit::USAGE } else { exit::INTERNAL };
    let says = format!("{name}: {} in {}", free.in_words(), escape_path(&place.directory));
    Some(Finding::error(Check::Reports, says, exit_code))
}

/// Whether a ledger has room to grow, by so many VMs if their number is known.
pub(super) fn space(place: &Place, vms: Option<u64>) -> Finding {
    let directory = escape_path(&place.directory);
    let free = match &place.free {
        Ok(free) => *free,
        Err(error) => return Finding::unchecked(Check::Space, format!("{directory}: {error}")),
    };
    let needed = vms.unwrap_or_default().saturating_mul(PER_VM);
    let says = format!("{} in {directory}", free.in_words());
    let remedy = "make room on the ledger's disk, or keep the ledger elsewhere (--ledger)";
    if free.is_none() {
        Finding::error(Check::Space, says, exit::USAGE).with_remedy(remedy)
    } else if free.bytes < needed {
        let says = format!("{says}, and a night may take {}", size(needed));
        Finding::error(Check::Space, says, exit::INTERNAL).with_remedy(remedy)
    } else if free.bytes < SCARCE {
        Finding::warning(Check::Space, says).with_remedy(remedy)
    } else {
        Finding::ok(Check::Space, says)
    }
}

/// In the unit that leaves one to three digits before the point.
#[expect(clippy::cast_precision_loss, reason = "one digit behind the point is told")]
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut size = bytes as f64 / 1024.0;
    let mut units = UNITS.into_iter();
    let mut unit = units.next().unwrap_or_default();
    while let (true, Some(larger)) = (size >= 1000.0, units.next()) {
        (size, unit) = (size / 1024.0, larger);
    }
    format!("{size:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Level;

    fn place(bytes: u64, files: Option<u64>) -> Place {
        let free = Ok(Free { bytes, files });
        Place { directory: "/there".into(), writable: Ok(()), free }
    }

    #[test]
    fn a_ledger_needs_room_to_begin_and_for_the_night() {
        for (bytes, files, vms, level, code) in [
            (0, Some(9), None, Level::Error, 2),
            (LEAST - 1, None, None, Level::Error, 2),
            (1 << 40, Some(0), None, Level::Error, 2),
            (1 << 40, None, Some(1_000_000), Level::Ok, 0),
            (1 << 31, Some(9), Some(1_000_000), Level::Error, 1),
            (LEAST, Some(9), Some(1), Level::Warning, 0),
            (SCARCE, Some(9), Some(16_000), Level::Ok, 0),
        ] {
            let finding = space(&place(bytes, files), vms);
            assert_eq!((finding.level, finding.exit_code), (level, code), "{finding:?}");
        }
    }

    #[test]
    fn reports_need_a_place_that_takes_them() {
        let of = |place: &Place| {
            let finding = reports(Path::new("reports"), place);
            (finding.level, finding.exit_code)
        };
        assert_eq!(of(&place(1 << 40, None)), (Level::Ok, 0));
        assert_eq!(of(&place(0, None)), (Level::Error, 1));
        assert_eq!(of(&place(1 << 40, Some(0))), (Level::Error, 2));
        let file = |place: &Place| file(Path::new("a.csv"), place).map(|finding| finding.exit_code);
        let files = [place(1 << 40, Some(9)), place(0, None), place(1 << 40, Some(0))];
        assert_eq!(files.each_ref().map(file), [None, Some(1), Some(2)]);
        let protected = Place { writable: Err(io::ErrorKind::PermissionDenied.into()), ..place(1, None) };
        assert_eq!(of(&protected), (Level::Error, 2));
        let unknown = Place { free: Err(io::ErrorKind::Unsupported.into()), ..place(1, None) };
        assert_eq!(of(&unknown), (Level::Ok, 0));
        assert_eq!(space(&unknown, None).level, Level::Unchecked);
    }

    #[test]
    fn the_nearest_directory_that_is_there_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Place::look(&dir.path().join("a/b")).directory, dir.path());
        assert_eq!(Place::look(Path::new("no/such/place")).directory, Path::new("."));
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(Place::look(&dir.path().join("file/b")).writable.is_err());
        std::os::unix::fs::symlink("unmounted", dir.path().join("disk")).unwrap();
        assert!(Place::look(&dir.path().join("disk/b")).writable.is_err());
    }

    #[test]
    fn a_size_is_told_in_its_unit() {
        for (bytes, told) in
            [(0, "0.0 KiB"), (1 << 20, "1.0 MiB"), (1000 << 20, "1.0 GiB"), (u64::MAX, "16384.0 PiB")]
        {
            assert_eq!(size(bytes), told);
        }
    }
}
