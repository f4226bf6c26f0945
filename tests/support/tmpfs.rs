//! A small file system of a test's own, in a mount namespace that lasts as long as it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::fixture::Fixture;
use crate::skip::skipped_but_on_ci;
use crate::strace::wrapped;

/// Holds the namespace until its standard input is closed.
const HOLD: &str = "mount -t tmpfs -o \"$1\" tmpfs \"$2\" && echo mounted && exec cat";

/// Unmounted with the test.
pub struct Tmpfs {
    holder: Child,
    namespaces: &'static [&'static str],
    mounted_on: PathBuf,
    /// As it is seen from outside of the namespace.
    path: PathBuf,
}

impl Tmpfs {
    /// Mounts one with these options on a directory; where that is not allowed, the test says that it was
    /// skipped, and on CI it fails.
    pub fn mount(options: &str, directory: &Path) -> Option<Self> {
        fs::create_dir_all(directory).unwrap();
        let unprivileged = Self::try_mount(&["--user", "--mount"], "-rm", options, directory);
        let mounted = unprivileged.or_else(|_| Self::try_mount(&["--mount"], "-m", options, directory));
        mounted.map_err(|reason| Self::skip(&reason)).ok()
    }

    /// The same as root alone, for whom other users are who they are.
    pub fn mount_as_root(options: &str, directory: &Path) -> Option<Self> {
        Self::try_mount(&["--mount"], "-m", options, directory).map_err(|reason| Self::skip(&reason)).ok()
    }

    fn skip(reason: &str) {
        skipped_but_on_ci(&format!("no tmpfs can be mounted: {reason}"));
    }

    fn try_mount(
        namespaces: &'static [&'static str],
        unshared: &str,
        options: &str,
        directory: &Path,
    ) -> Result<Self, String> {
        let mut unshare = Command::new("unshare");
        unshare.args([unshared, "sh", "-c", HOLD, "sh", options]).arg(directory);
        unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut holder = unshare.spawn().map_err(|error| error.to_string())?;
        let mut line = String::new();
        BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        if line.trim() != "mounted" {
            let output = holder.wait_with_output().unwrap();
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let directory = directory.canonicalize().unwrap();
        let path = Path::new("/proc").join(holder.id().to_string()).join("root");
        let path = path.join(directory.strip_prefix("/").unwrap());
        Ok(Self { holder, namespaces, mounted_on: directory, path })
    }

    /// The program, where the directory is the small file system.
    pub fn command(&self, fixture: &Fixture, args: &[&str]) -> Command {
        let (enter, home) = (self.entered(), fixture.path(""));
        let enter: Vec<&str> = enter.iter().map(String::as_str).collect();
        let there = ["sh", "-c", "cd \"$0\" && exec \"$@\"", home.to_str().unwrap()];
        wrapped(&[&enter[..], &there].concat(), fixture, args)
    }

    /// What stands before a command that is to see it.
    pub fn entered(&self) -> Vec<String> {
        let holder = self.holder.id().to_string();
        let enter = ["nsenter", "--preserve-credentials", "--target", &holder];
        enter.iter().chain(self.namespaces).map(|&word| word.to_owned()).collect()
    }

    /// Where it is, as it is seen from outside of the namespace.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Copies what is in it to the directory as everybody else sees it.
    pub fn copy(&self, from: &str, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for file in fs::read_dir(self.path.join(from)).unwrap().map(Result::unwrap) {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }

    /// Nothing can be written to it from now on.
    pub fn protect(&self) {
        let enter = self.entered();
        let mut remount = Command::new(&enter[0]);
        remount.args(&enter[1..]).args(["mount", "-o", "remount,ro"]).arg(&self.mounted_on);
        assert!(remount.status().unwrap().success());
    }

    /// Takes all the room that is left, until the file is removed.
    pub fn fill(&self) -> PathBuf {
        let filler = self.path.join("filler");
        let error = std::io::copy(&mut std::io::repeat(0), &mut fs::File::create(&filler).unwrap());
        assert_eq!(error.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
        filler
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
