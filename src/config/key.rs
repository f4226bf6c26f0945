//! The API key: never an argument, and nothing prints it.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::error::ConfigError;
use super::places::below;
use crate::text::escape_path;

/// In bytes. What is longer is another file, and no header of HTTP can be relied on to carry it.
const LONGEST: u64 = 4096;

/// The API key, and where it came from.
#[derive(Debug)]
pub(crate) struct ApiKey {
    pub(crate) secret: SecretString,
    /// For the log: never the key.
    pub(crate) source: String,
    /// Those of the file that holds it.
    pub(crate) rights: Option<u32>,
}

impl ApiKey {
    /// From the named file, else the service manager's credentials, else the environment.
    pub(crate) fn find(file: Option<&Path>) -> Result<Self, ConfigError> {
        if let Some(path) = file {
            return Self::from_file(path, Some("--api-key-file"));
        }
        if let Some(path) = credential().filter(|path| path.exists()) {
            return Self::from_file(&path, None);
        }
        let source = "HOSTUP_API_KEY".to_owned();
        let key = env::var_os("HOSTUP_API_KEY").ok_or(ConfigError::NoKey)?;
        let key = key.into_string().map_err(|_| ConfigError::UnreadableKey(source.clone()))?;
        Self::new(&key, source, None)
    }

    /// The rehearsal's: the real one has no business there. Too short to be masked in answers, it is no secret.
    pub(crate) fn of_sandbox() -> Self {
        Self { secret: SecretString::from("sandbox"), source: "the rehearsal".into(), rights: None }
    }

    fn from_file(path: &Path, option: Option<&'static str>) -> Result<Self, ConfigError> {
        let io = |source| ConfigError::File { option, path: path.to_owned(), source };
        let rights = Some(fs::metadata(path).map_err(io)?.permissions().mode() & 0o7777);
        let key = beginning(path).map_err(io)?;
        let source = escape_path(path);
        match String::from_utf8(key) {
            Ok(key) => Self::new(&key, source, rights),
            Err(_) => Err(ConfigError::UnreadableKey(source)),
        }
    }

    fn new(key: &str, source: String, rights: Option<u32>) -> Result<Self, ConfigError> {
        // Editors put a byte order mark before the text, and some a line end after it.
        let key = key.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        if key.is_empty() {
            return Err(ConfigError::EmptyKey(source));
        }
        if key.len() as u64 > LONGEST {
            return Err(ConfigError::LongKey(source, LONGEST));
        }
        match key.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            true => Ok(Self { secret: SecretString::from(key), source, rights }),
            false => Err(ConfigError::UnfitKey(source)),
        }
    }

    /// Whether all may read the file that holds it.
    pub(crate) fn is_exposed(&self) -> bool {
        self.rights.is_some_and(|rights| rights & 0o004 != 0)
    }

    /// The first 8 hex digits of its SHA-256: tells keys apart, and gives none away.
    pub(crate) fn fingerprint(&self) -> String {
        let digest = format!("{:x}", Sha256::digest(self.secret.expose_secret()));
        digest[..8].to_owned()
    }
}

/// So much of a file that a key would be all of it, whatever blanks end it: some files have no end.
fn beginning(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(4 * LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Where the service manager puts the key, whether or not it is there.
pub(super) fn credential() -> Option<PathBuf> {
    below("CREDENTIALS_DIRECTORY", "api-key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_trimmed_and_an_empty_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, " secret-marker\r\n").unwrap();
        let key = ApiKey::find(Some(&path)).unwrap();
        assert_eq!(key.secret.expose_secret(), "secret-marker");
        assert!(!format!("{key:?}").contains("secret-marker"));
        assert_eq!(key.fingerprint().len(), 8);
        fs::write(&path, " \n").unwrap();
        assert!(matches!(ApiKey::find(Some(&path)), Err(ConfigError::EmptyKey(_))));
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_key_and_what_no_header_can_carry_is_named_by_its_source() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let find = |content: &[u8]| {
            fs::write(&path, content).unwrap();
            ApiKey::find(Some(&path)).map(|key| key.secret.expose_secret().to_owned())
        };
        for content in ["\u{feff}secret-marker", "\u{feff} secret-marker\r\n", "secret-marker\n\u{feff}"] {
            assert_eq!(find(content.as_bytes()).unwrap(), "secret-marker");
        }
        assert!(matches!(find("\u{feff}\n".as_bytes()), Err(ConfigError::EmptyKey(_))));
        for content in [
            "secret-mårker",
            "secret\nmarker",
            "secret\tmarker",
            "secret\0marker",
            "secret\u{feff}marker",
            "\u{7f}secret",
        ] {
            let error = find(content.as_bytes()).unwrap_err();
            let told = error.to_string();
            assert!(matches!(error, ConfigError::UnfitKey(_)), "{told}");
            assert!(told.contains(path.to_str().unwrap()) && !told.contains("secret"), "{told}");
        }
        assert!(matches!(find(b"secret-\xe5"), Err(ConfigError::UnreadableKey(_))));
    }

    #[test]
    fn a_file_that_is_too_long_for_a_key_is_none_and_is_not_read_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let find = |length: u64| {
            fs::write(&path, "k".repeat(usize::try_from(length).unwrap())).unwrap();
            ApiKey::find(Some(&path))
        };
        assert!(find(LONGEST).is_ok());
        for length in [LONGEST + 1, 9 * LONGEST] {
            let error = find(length).unwrap_err();
            assert!(matches!(error, ConfigError::LongKey(..)), "{error}");
            assert!(!error.to_string().contains("kk"), "{error}");
        }
        assert!(matches!(ApiKey::find(Some(Path::new("/dev/zero"))), Err(ConfigError::LongKey(..))));
    }

    #[test]
    fn a_key_file_that_all_may_read_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, "k").unwrap();
        for (mode, exposed) in [(0o600, false), (0o640, false), (0o644, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(ApiKey::find(Some(&path)).unwrap().is_exposed(), exposed, "{mode:o}");
        }
    }
}
