//! The URL of a database, as libpq reads it: who, where, which, and how. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

/// How a URL begins.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// What a URL may say behind its `?`, of what libpq knows.
pub(super) const PARAMETERS: [&str; 18] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "load_balance_hosts",
    "options",
    "passfile",
    "port",
    "sslmode",
    "sslnegotiation",
    "sslrootcert",
    "target_session_attrs",
    "user",
];

/// Where a database is, without a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    typed: String,
    /// What it says, by libpq's keyword.
    said: BTreeMap<&'static str, String>,
}

/// Why a text is no [`DatabaseUrl`]. It quotes nothing but what looks like a keyword: there may be a password in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    #[error(
        "a password in a URL is seen by everybody who lists processes: put it into ~/.pgpass, into the file that PGPASSFILE \
         names, or into PGPASSWORD"
    )]
    Password,
    #[error("not a URL such as postgres://HOST/DATABASE")]
    NotAUrl,
    #[error("{0:?} is no parameter that is known here; there are {list}", list = PARAMETERS.join(", "))]
    Parameter(String),
}

impl DatabaseUrl {
    /// `None` where the text is no such URL, but a path.
    pub fn of(typed: &Path) -> Option<Result<Self, InvalidUrl>> {
        let text = typed.as_os_str().to_string_lossy();
        let rest = SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme))?;
        let said = match typed.to_str() {
            Some(_) => said(rest),
            None => Err(InvalidUrl::NotAUrl),
        };
        Some(said.map(|said| Self { typed: text.clone().into_owned(), said }))
    }

    /// What it says of a keyword; empty is nothing.
    pub(super) fn says(&self, keyword: &str) -> Option<&str> {
        self.said.get(keyword).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether it leads to the same database, as far as it says.
    pub fn is_the_very(&self, other: &Self) -> bool {
        let place = |url: &Self| {
            ["host", "hostaddr", "port", "dbname"].map(|keyword| url.says(keyword).map(str::to_owned))
        };
        place(self) == place(other)
    }

    /// As it was typed.
    pub fn as_path(&self) -> PathBuf {
        PathBuf::from(&self.typed)
    }
}

fn said(rest: &str) -> Result<BTreeMap<&'static str, String>, InvalidUrl> {
    // Whatever else is wrong with it, a password is told of first.
    let (main, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (whom, place) = main.rsplit_once('@').unwrap_or(("", main));
    if whom.contains(':') {
        return Err(InvalidUrl::Password);
    }
    let mut said = BTreeMap::from([("user", decoded(whom)?)]);
    let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
    let hosts: Vec<[String; 2]> = hosts.split(',').map(host_and_port).collect::<Result<_, _>>()?;
    let all = |nth: usize| hosts.iter().map(|host| host[nth].as_str()).collect::<Vec<_>>().join(",");
    said.extend([("host", all(0)), ("port", all(1)), ("dbname", decoded(database)?)]);
    for (key, value) in form_urlencoded::parse(query.replace('+', "%2B").as_bytes()) {
        said.insert(parameter(&key, query)?, value.into_owned());
    }
    Ok(said)
}

/// Where the `?` is one of a password, what follows it is no key, and an `@` is yet to come.
fn parameter(key: &str, query: &str) -> Result<&'static str, InvalidUrl> {
    match PARAMETERS.into_iter().find(|known| *known == key) {
        Some(known) => Ok(known),
        None if key == "password" || query.contains('@') => Err(InvalidUrl::Password),
        None if key.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'_')) => {
            Err(InvalidUrl::Parameter(key.to_owned()))
        }
        None => Err(InvalidUrl::NotAUrl),
    }
}

/// An address with colons in it stands in brackets.
fn host_and_port(text: &str) -> Result<[String; 2], InvalidUrl> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(InvalidUrl::NotAUrl)?;
            (host, port.strip_prefix(':').or(port.is_empty().then_some("")).ok_or(InvalidUrl::NotAUrl)?)
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    match port.parse::<u16>() {
        Err(_) if !port.is_empty() => Err(InvalidUrl::NotAUrl),
        _ => Ok([decoded(host)?, port.to_owned()]),
    }
}

fn decoded(text: &str) -> Result<String, InvalidUrl> {
    percent_decode_str(text).decode_utf8().map(Cow::into_owned).map_err(|_| InvalidUrl::NotAUrl)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(typed: &str) -> Result<DatabaseUrl, InvalidUrl> {
        DatabaseUrl::of(Path::new(typed)).expect("a URL")
    }

    #[test]
    fn a_url_says_what_libpq_reads_in_it() {
        for (typed, expected) in [
            ("postgres://", &[][..]),
            ("postgres://db.example/fleet", &[("host", "db.example"), ("dbname", "fleet")]),
            (
                "postgresql://me%40x@a,[::1]:5433,c:1/fl%20eet?sslmode=require&options=-c%20x%3D1+2",
                &[
                    ("user", "me@x"),
                    ("host", "a,::1,c"),
                    ("port", ",5433,1"),
                    ("dbname", "fl eet"),
                    ("sslmode", "require"),
                    ("options", "-c x=1+2"),
                ],
            ),
            ("postgres://%2Frun%2Fpg/x?user=me", &[("host", "/run/pg"), ("dbname", "x"), ("user", "me")]),
            ("postgres://h/d?user=me@tenant", &[("user", "me@tenant"), ("host", "h"), ("dbname", "d")]),
            ("postgres:///x?host=/tmp", &[("host", "/tmp"), ("dbname", "x")]),
        ] {
            let url = parsed(typed).unwrap();
            let said: Vec<_> = PARAMETERS.iter().filter_map(|key| Some((*key, url.says(key)?))).collect();
            let mut expected = expected.to_vec();
            expected.sort_unstable();
            assert_eq!(said, expected, "{typed}");
            assert_eq!(url.as_path(), Path::new(typed));
        }
        assert_eq!(DatabaseUrl::of(Path::new("/var/lib/postgres:/x")), None);
        assert_eq!(DatabaseUrl::of(Path::new("ledger.db")), None);
    }

    #[test]
    fn a_password_is_refused_wherever_it_stands_and_no_error_shows_it() {
        for (typed, expected) in [
            ("postgres://me:s3cret@h/d", InvalidUrl::Password),
            ("postgres://me:s3/cret@h/d", InvalidUrl::Password),
            ("postgres://me:s3cr@t@h/d", InvalidUrl::Password),
            ("postgres://:s3cret@[h/d", InvalidUrl::Password),
            ("postgres://h/d?password=s3cret", InvalidUrl::Password),
            ("postgres://h/d?user=a&password=", InvalidUrl::Password),
            ("postgres://u:12?s3cretrest@db/fleet", InvalidUrl::Password),
            ("postgres://u:12?secret=s3&rest@db/fleet", InvalidUrl::Password),
            ("postgres://h/d?S3CRET=x", InvalidUrl::NotAUrl),
            ("postgres://h:s3cret/d", InvalidUrl::NotAUrl),
            ("postgres://[h/d", InvalidUrl::NotAUrl),
            ("postgres://[::1]x/d", InvalidUrl::NotAUrl),
            ("postgres://h:70000/d", InvalidUrl::NotAUrl),
            ("postgres://%ff/d", InvalidUrl::NotAUrl),
            ("postgres://h/d?sslcert=x", InvalidUrl::Parameter("sslcert".into())),
        ] {
            let error = parsed(typed).unwrap_err();
            assert_eq!(error, expected, "{typed}");
            assert!(!error.to_string().contains("s3"), "{error}");
        }
    }
}
