//! The ledger's lock: one run writes at a time, and knows it when the lock or the ledger is taken away from under it.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;
use tracing::info;

use super::board::{self, Notes};
use super::path::{beside, io_error};
use crate::ledger::error::LedgerError;
use crate::ledger::host::host;
use crate::ledger::record::Bulletin;
use crate::text::moment_for_people;

/// How often a waiting run looks whether the lock is free.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// So long a run waits in any case: who only looks whether the lock is held has it for a moment himself.
const LOCK_GLANCE: Duration = Duration::from_millis(200);

/// The beginning of a lock's file that was ever held.
const HOLDER: &str = "pid ";

/// Stands in the lock's file before the id of the run under way.
const HELD_FOR: &str = "run ";

/// So often a line that is just being written is read again.
const READINGS: usize = 5;

/// Held while a run writes; the kernel frees it with the process, however that ends.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    /// The lock lasts as long as the open file.
    file: File,
    /// What must stay where it is as long as the lock is held: else nobody heeds it.
    watched: Vec<Watched>,
    /// Who we say that we are.
    holder: String,
}

#[derive(Debug)]
struct Watched {
    path: PathBuf,
    identity: Identity,
}

/// A file system and a file in it.
type Identity = (u64, u64);

impl Lock {
    /// Takes the ledger's lock, waiting up to `timeout` for another run to end.
    pub(super) fn take(ledger: &Path, timeout: Duration) -> Result<Self, LedgerError> {
        // By whatever link it is named, a ledger has one lock.
        let target = fs::canonicalize(ledger).map_err(io_error(ledger))?;
        let path = beside(&target, ".lock");
        let file = loop {
            let mut file = open(&path, OpenOptions::new().read(true).write(true).create(true).mode(0o600))?;
            if !try_lock(&file, &path)? {
                wait_for(&mut file, &path, timeout)?;
            }
            // Whoever removed it while we waited left us a lock that nobody heeds.
            if fs::metadata(&path).ok().map(|found| identity(&found))
                == file.metadata().ok().map(|held| identity(&held))
            {
                break file;
            }
        };
        let mut lock = Self { path: path.clone(), file, watched: Vec::new(), holder: holder() };
        refuse_other_files(&mut lock.file, &lock.path)?;
        lock.watch(path)?;
        lock.watch(ledger.to_owned())?;
        lock.say(&lock.holder.clone())?;
        Ok(lock)
    }

    /// What would keep anybody from taking it, but for who holds it. Nothing is made.
    pub(super) fn check_takable(ledger: &Path) -> Result<(), LedgerError> {
        let path = beside(&fs::canonicalize(ledger).unwrap_or_else(|_| ledger.to_owned()), ".lock");
        let file = if_there(open(&path, OpenOptions::new().read(true).write(true)))?;
        file.map_or(Ok(()), |mut file| refuse_other_files(&mut file, &path))
    }

    /// Counts a file among those without which the lock is none.
    pub(super) fn watch(&mut self, path: PathBuf) -> Result<(), LedgerError> {
        let identity = fs::metadata(&path).map(|file| identity(&file)).map_err(io_error(&path))?;
        self.watched.push(Watched { path, identity });
        Ok(())
    }

    /// An error where a file was removed, renamed or replaced since the lock was taken.
    pub(super) fn check(&self) -> Result<(), LedgerError> {
        let gone = |watched: &&Watched| {
            fs::metadata(&watched.path).map_or(true, |file| identity(&file) != watched.identity)
        };
        match self.watched.iter().find(gone) {
            None => Ok(()),
            Some(gone) => Err(LedgerError::Replaced { path: gone.path.clone() }),
        }
    }

    /// Tells whoever asks which run it is held for.
    pub(super) fn hold_for(&mut self, run: &str) -> Result<(), LedgerError> {
        self.say(&self.held_for_run(run))
    }

    /// Where that run tells how it stands.
    pub(super) fn board(&self, run: &str) -> Option<Notes> {
        Notes::open(&self.path, self.held_for_run(run))
    }

    fn held_for_run(&self, run: &str) -> String {
        format!("{}\n{HELD_FOR}{run}", self.holder)
    }

    /// What the run that holds it now has told last.
    pub(super) fn posted(ledger: &Path) -> Result<Option<Bulletin>, LedgerError> {
        for _ in 0..READINGS {
            let Some(said) = said_by_holder(ledger)? else { return Ok(None) };
            let posted = board::read(&said);
            if posted.is_some() || board::without(&said).count() == said.lines().count() {
                return Ok(posted);
            }
        }
        Ok(None)
    }

    fn say(&mut self, words: &str) -> Result<(), LedgerError> {
        let file = &mut self.file;
        let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{words}"));
        written.map_err(io_error(&self.path))
    }

    /// The id of the run that holds the ledger's lock now.
    pub(super) fn held_for(ledger: &Path) -> Result<Option<String>, LedgerError> {
        let said = said_by_holder(ledger)?.unwrap_or_default();
        Ok(board::without(&said).find_map(|line| line.strip_prefix(HELD_FOR)).map(str::to_owned))
    }

    /// Who says that he holds it now.
    pub(super) fn holder(ledger: &Path) -> Result<Option<String>, LedgerError> {
        let said = said_by_holder(ledger)?;
        Ok(said.map(|said| as_holder(board::without(&said).take(1))))
    }

    /// The same, with the run that he holds it for.
    pub(super) fn holder_and_run(ledger: &Path) -> Result<Option<String>, LedgerError> {
        Ok(said_by_holder(ledger)?.map(|said| as_holder(board::without(&said))))
    }
}

/// What stands in the file of a ledger's lock, if that is held now.
fn said_by_holder(ledger: &Path) -> Result<Option<String>, LedgerError> {
    let path = beside(&fs::canonicalize(ledger).map_err(io_error(ledger))?, ".lock");
    let mut file = match if_there(open(&path, OpenOptions::new().read(true))) {
        Ok(Some(file)) => file,
        // What is no lock, nobody can hold.
        Ok(None) | Err(LedgerError::Unusable { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) | Err(TryLockError::Error(_)) => Ok(None),
        Err(TryLockError::WouldBlock) => read_again(&mut file, &path).map(Some),
    }
}

fn identity(file: &Metadata) -> Identity {
    (file.dev(), file.ino())
}

/// Opens a lock's file. A link planted in its place would have its target overwritten, and a pipe keep us waiting.
fn open(path: &Path, options: &mut OpenOptions) -> Result<File, LedgerError> {
    let unusable = |reason: &str| LedgerError::Unusable { path: path.to_owned(), reason: reason.to_owned() };
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = options.custom_flags(flags).open(path).map_err(|error| match error.raw_os_error() {
        Some(number) if Errno::from_raw_os_error(number) == Errno::LOOP => {
            unusable("is a link, and a ledger's lock is a file of its own; remove it")
        }
        _ => io_error(path)(error),
    })?;
    let found = file.metadata().map_err(io_error(path))?;
    match found.is_file() && found.nlink() <= 1 {
        true => Ok(file),
        false => Err(unusable("is no file of its own, as a ledger's lock must be; remove it")),
    }
}

/// `None` where there is no such file.
fn if_there(opened: Result<File, LedgerError>) -> Result<Option<File>, LedgerError> {
    match opened {
        Err(LedgerError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

/// What is named like the lock may be something else: beside a ledger called `Cargo` lies `Cargo.lock`.
fn refuse_other_files(file: &mut File, path: &Path) -> Result<(), LedgerError> {
    match read_again(file, path)? {
        said if said.is_empty() || said.starts_with(HOLDER) => Ok(()),
        _ => Err(LedgerError::Unusable {
            path: path.to_owned(),
            reason: "is no ledger's lock: name another ledger with --ledger".to_owned(),
        }),
    }
}

fn try_lock(file: &File, path: &Path) -> Result<bool, LedgerError> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => {
            let reason =
                format!("the file system cannot lock: {error}; keep the ledger on a local disk (--ledger)");
            Err(LedgerError::Unusable { path: path.to_owned(), reason })
        }
    }
}

/// Waits for the lock, and takes it.
fn wait_for(file: &mut File, path: &Path, timeout: Duration) -> Result<(), LedgerError> {
    let deadline = Instant::now() + timeout.max(LOCK_GLANCE);
    if !timeout.is_zero() {
        info!(holder = held_by(file, path)?, "waiting for another run to end");
    }
    while Instant::now() < deadline {
        let poll = LOCK_POLL.min(timeout.max(LOCK_GLANCE) / 4);
        std::thread::sleep(poll.min(deadline.saturating_duration_since(Instant::now())));
        if try_lock(file, path)? {
            return Ok(());
        }
    }
    Err(LedgerError::Locked { path: path.to_owned(), holder: held_by(file, path)? })
}

/// Who says that he has the lock now.
fn held_by(file: &mut File, path: &Path) -> Result<String, LedgerError> {
    Ok(as_holder(board::without(&read_again(file, path)?)))
}

fn as_holder<'s>(said: impl Iterator<Item = &'s str>) -> String {
    match &*said.collect::<Vec<_>>().join(", ") {
        "" => "it has only just begun".to_owned(),
        holder => holder.to_owned(),
    }
}

fn read_again(file: &mut File, path: &Path) -> Result<String, LedgerError> {
    let mut text = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut text)).map_err(io_error(path))?;
    Ok(text)
}

fn holder() -> String {
    let since = moment_for_people(jiff::Timestamp::now());
    format!("{HOLDER}{} on {} since {since}", std::process::id(), host())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::ledger::sqlite::path::create;

    fn at(dir: &tempfile::TempDir) -> PathBuf {
        dir.path().join("state/ledger.db")
    }

    #[test]
    fn the_second_holder_of_the_lock_is_told_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = at(&dir);
        create(&path).unwrap();
        let lock = Lock::take(&path, Duration::ZERO).unwrap();
        let Err(LedgerError::Locked { holder, .. }) = Lock::take(&path, Duration::ZERO) else {
            panic!("taken twice")
        };
        assert!(holder.starts_with(&format!("pid {} on ", std::process::id())), "{holder}");
        let link = dir.path().join("link.db");
        symlink(&path, &link).unwrap();
        assert!(matches!(Lock::take(&link, Duration::from_millis(1)), Err(LedgerError::Locked { .. })));
        drop(lock);
        assert!(Lock::take(&path, Duration::ZERO).is_ok());
    }

    #[test]
    fn a_lock_is_none_any_longer_once_its_file_or_the_ledger_is_taken_away() {
        let takings: [fn(&Path, &Path); 5] = [
            |ledger, _| fs::remove_file(ledger).unwrap(),
            |ledger, aside| fs::rename(ledger, aside).unwrap(),
            |ledger, aside| {
                fs::copy(ledger, aside).unwrap();
                fs::rename(aside, ledger).unwrap();
            },
            |ledger, _| fs::remove_file(beside(ledger, ".lock")).unwrap(),
            |ledger, _| {
                fs::remove_file(beside(ledger, ".lock")).unwrap();
                fs::write(beside(ledger, ".lock"), "").unwrap();
            },
        ];
        for take_away in takings {
            let dir = tempfile::tempdir().unwrap();
            let path = at(&dir);
            create(&path).unwrap();
            let lock = Lock::take(&path, Duration::ZERO).unwrap();
            assert!(lock.check().is_ok());
            // Held open, its number is not given to another file.
            let _kept = (File::open(&path).unwrap(), File::open(beside(&path, ".lock")).unwrap());
            take_away(&path, &dir.path().join("aside"));
            assert!(matches!(lock.check(), Err(LedgerError::Replaced { .. })));
        }
    }

    #[test]
    fn who_waits_for_a_lock_that_is_removed_meanwhile_takes_the_one_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = at(&dir);
        create(&path).unwrap();
        let first = Lock::take(&path, Duration::ZERO).unwrap();
        let waiting = {
            let path = path.clone();
            std::thread::spawn(move || Lock::take(&path, Duration::from_mins(1)).unwrap())
        };
        // Whether it waits already, or opens the new one at once: what it gets must be heeded.
        fs::remove_file(beside(&path, ".lock")).unwrap();
        drop(first);
        let second = waiting.join().unwrap();
        assert!(second.check().is_ok());
        assert!(matches!(Lock::take(&path, Duration::ZERO), Err(LedgerError::Locked { .. })));
    }

    #[test]
    fn what_lies_in_the_locks_place_and_is_no_lock_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = at(&dir);
        create(&path).unwrap();
        let (lock, other) = (beside(&path, ".lock"), dir.path().join("other"));
        fs::write(&other, "precious").unwrap();
        let plants: [&dyn Fn(); 4] = [
            &|| symlink(&other, &lock).unwrap(),
            &|| symlink("nowhere", &lock).unwrap(),
            &|| fs::hard_link(&other, &lock).unwrap(),
            &|| {
                let fifo = rustix::fs::FileType::Fifo;
                rustix::fs::mknodat(rustix::fs::CWD, &lock, fifo, 0o600.into(), 0).unwrap();
            },
        ];
        for plant in plants {
            plant();
            assert!(matches!(Lock::take(&path, Duration::ZERO), Err(LedgerError::Unusable { .. })));
            assert_eq!(Lock::held_for(&path).unwrap(), None);
            assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
            fs::remove_file(&lock).unwrap();
        }
        fs::write(&lock, "[[package]]\n").unwrap();
        assert!(matches!(Lock::take(&path, Duration::ZERO), Err(LedgerError::Unusable { .. })));
        assert_eq!(fs::read_to_string(&lock).unwrap(), "[[package]]\n");
        fs::remove_file(&lock).unwrap();
        assert!(Lock::take(&path, Duration::ZERO).is_ok());
        assert!(Lock::take(&path, Duration::ZERO).is_ok(), "what is left of an older lock is a lock");
    }
}
