//! How a database is reached: its URL, and what the URL leaves open from libpq's variables of the environment.

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::warn;

use super::passfile::{self, Lock};
use super::tls::{self, InvalidMode, Mode, TrustError};
use super::url::DatabaseUrl;
use crate::ledger::error::LedgerError;
use crate::text::escape_path;

/// libpq's variables, and the parameters that they stand for.
const VARIABLES: [(&str, &str); 14] = [
    ("PGAPPNAME", "application_name"),
    ("PGCHANNELBINDING", "channel_binding"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGDATABASE", "dbname"),
    ("PGHOST", "host"),
    ("PGHOSTADDR", "hostaddr"),
    ("PGLOADBALANCEHOSTS", "load_balance_hosts"),
    ("PGOPTIONS", "options"),
    ("PGPASSFILE", "passfile"),
    ("PGPORT", "port"),
    ("PGSSLMODE", "sslmode"),
    ("PGSSLNEGOTIATION", "sslnegotiation"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
];

/// The user, who is not looked up where nobody says one.
const USER: [&str; 3] = ["PGUSER", "USER", "LOGNAME"];

/// What is handed on as it is said.
const HANDED_ON: [&str; 7] = [
    "channel_binding",
    "hostaddr",
    "keepalives",
    "load_balance_hosts",
    "options",
    "sslnegotiation",
    "target_session_attrs",
];

/// Where Debian's servers have their sockets.
const SOCKETS: &str = "/var/run/postgresql";

/// libpq's own default, unless something else is said.
const PORT: &str = "5432";

/// Seconds after which a host that does not answer is given up.
const CONNECT_TIMEOUT: &str = "10";

/// Seconds after which a connection on which nothing comes is asked whether it is still there, and then asked again.
const KEEPALIVES: [(&str, &str); 2] = [("keepalives_idle", "30"), ("keepalives_interval", "10")];

/// So many times.
const KEEPALIVE_RETRIES: u32 = 3;

/// How long what was sent may stay unacknowledged: the system itself would wait for a quarter of an hour.
const UNACKNOWLEDGED: Duration = Duration::from_mins(1);

/// How a database is reached.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) config: Config,
    pub(super) tls: MakeRustlsConnect,
    /// How long it may say nothing before it is asked what it does.
    pub(super) quiet: Duration,
}

/// Why a database cannot be reached as it was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    #[error("sslmode: {0}")]
    Mode(#[from] InvalidMode),
    #[error("{}: {error}", escape_path(path))]
    Trust { path: PathBuf, error: TrustError },
    #[error("{0}")]
    Driver(#[from] tokio_postgres::Error),
    #[error(
        "PGSERVICE is set, and service files are not read here: give the URL or the variables themselves"
    )]
    Service,
}

/// The password is among them, and nothing that is shown has it.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").finish_non_exhaustive()
    }
}

impl Settings {
    /// What the URL says, else the environment.
    pub(super) fn of(url: &DatabaseUrl) -> Result<Self, LedgerError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let unusable = |error: Unfit| LedgerError::Unusable { path: url.as_path(), reason: in_words(&error) };
        Self::chosen(url, &variable).map_err(unusable)
    }

    pub(super) fn chosen(
        url: &DatabaseUrl,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Unfit> {
        if variable("PGSERVICE").is_some() {
            return Err(Unfit::Service);
        }
        let said = Said { url, variable };
        let (mode, roots) = (said.mode()?, said.roots());
        let trust = |error| Unfit::Trust { path: roots.clone().unwrap_or_default(), error };
        let tls = tls::connector(mode, roots.as_deref()).map_err(trust)?;
        let mut config: Config = said.conninfo(mode).parse()?;
        config.keepalives_retries(KEEPALIVE_RETRIES).tcp_user_timeout(UNACKNOWLEDGED);
        if mode == Mode::Prefer && said.is_at_sockets() {
            // No server speaks TLS there, and to ask it would take a round trip.
            config.ssl_mode(SslMode::Disable);
        }
        if let Some(password) = said.password() {
            config.password(password);
        }
        let quiet = connect_timeout(&config);
        Ok(Self { config, tls, quiet })
    }

    /// How long it may take until the first of the hosts that answers has let us in.
    pub(super) fn connect_limit(&self) -> Duration {
        let hosts = u32::try_from(self.config.get_hosts().len()).unwrap_or(u32::MAX);
        connect_timeout(&self.config).saturating_mul(hosts.max(1))
    }
}

/// How long one host may take.
fn connect_timeout(config: &Config) -> Duration {
    config.get_connect_timeout().copied().unwrap_or(UNACKNOWLEDGED)
}

/// An error and its causes.
fn in_words(error: &Unfit) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    match (error.to_string(), cause) {
        (words, Some(cause)) if !words.ends_with(&cause) => format!("{words}: {cause}"),
        (words, _) => words,
    }
}

/// What is said of a connection.
struct Said<'s> {
    url: &'s DatabaseUrl,
    variable: &'s dyn Fn(&str) -> Option<String>,
}

impl Said<'_> {
    fn of(&self, keyword: &str) -> Option<String> {
        let typed = self.url.says(keyword).map(str::to_owned);
        let name = VARIABLES.iter().find_map(|(name, parameter)| (*parameter == keyword).then_some(*name));
        typed.or_else(|| name.and_then(self.variable))
    }

    fn hosts(&self) -> Vec<String> {
        let default = || if Path::new(SOCKETS).is_dir() { SOCKETS } else { "localhost" }.to_owned();
        // An address alone is its own name.
        let hosts = self.of("host").or_else(|| self.of("hostaddr")).unwrap_or_else(default);
        hosts.split(',').map(str::to_owned).collect()
    }

    fn is_at_sockets(&self) -> bool {
        self.of("hostaddr").is_none() && self.hosts().iter().all(|host| host.starts_with('/'))
    }

    /// One for each host.
    fn ports(&self, hosts: usize) -> Vec<String> {
        let typed = self.url.says("port").filter(|ports| ports.contains(|c| c != ','));
        let ports = typed.map(str::to_owned).or_else(|| (self.variable)("PGPORT"));
        let ports = ports.unwrap_or_default();
        let mut ports: Vec<&str> = ports.split(',').collect();
        if let [port] = ports[..] {
            ports = vec![port; hosts];
        }
        ports.into_iter().map(|port| if port.is_empty() { PORT } else { port }.to_owned()).collect()
    }

    fn user(&self) -> Option<String> {
        let typed = self.url.says("user").map(str::to_owned);
        typed.or_else(|| USER.into_iter().find_map(self.variable))
    }

    /// Whoever listens elsewhere has to prove who he is, unless it was said that he need not.
    fn mode(&self) -> Result<Mode, InvalidMode> {
        let is_near = self.of("hostaddr").map_or_else(
            || self.hosts().iter().all(|host| is_near(host)),
            |addresses| addresses.split(',').all(is_near),
        );
        match self.of("sslmode") {
            Some(mode) => mode.parse(),
            None if is_near => Ok(Mode::Prefer),
            None => Ok(Mode::VerifyFull),
        }
    }

    /// The file of the authorities that are trusted; `None` for the system's.
    fn roots(&self) -> Option<PathBuf> {
        match self.of("sslrootcert") {
            Some(system) if system == "system" => None,
            Some(path) => Some(path.into()),
            None => self.below_home(".postgresql/root.crt").filter(|path| path.exists()),
        }
    }

    fn below_home(&self, path: &str) -> Option<PathBuf> {
        (self.variable)("HOME").map(|home| Path::new(&home).join(path))
    }

    /// What the driver is told, as libpq writes it.
    fn conninfo(&self, mode: Mode) -> String {
        let hosts = self.hosts();
        let ports = self.ports(hosts.len()).join(",");
        let mode = match mode {
            Mode::Disable => "disable",
            Mode::Prefer => "prefer",
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => "require",
        };
        let application = self.of("application_name").unwrap_or_else(|| "v6fleet".to_owned());
        let timeout = self.of("connect_timeout").unwrap_or_else(|| CONNECT_TIMEOUT.to_owned());
        let own = [
            ("host", Some(hosts.join(","))),
            ("port", Some(ports)),
            ("user", self.user()),
            ("dbname", self.of("dbname")),
            ("sslmode", Some(mode.to_owned())),
            ("application_name", Some(application)),
            ("connect_timeout", Some(timeout)),
        ];
        let alive =
            KEEPALIVES.map(|(key, usual)| (key, Some(self.of(key).unwrap_or_else(|| usual.to_owned()))));
        let all = own.into_iter().chain(alive).chain(HANDED_ON.map(|key| (key, self.of(key))));
        all.filter_map(|(key, value)| Some(format!("{key}={} ", quoted(&value?)))).collect()
    }

    fn password(&self) -> Option<String> {
        if let Some(password) = (self.variable)("PGPASSWORD") {
            return Some(password);
        }
        let path = self.of("passfile").map(PathBuf::from).or_else(|| self.below_home(".pgpass"))?;
        let file = read_private(&path)?;
        let user = self.user().unwrap_or_default();
        let database = self.of("dbname").unwrap_or_else(|| user.clone());
        let hosts = self.hosts();
        let ports = self.ports(hosts.len());
        let locks: Vec<Lock<'_>> = hosts
            .iter()
            .zip(&ports)
            .map(|(host, port)| [in_passfile(host), port.as_str(), &database, &user])
            .collect();
        passfile::password(&file, &locks)
    }
}

/// Whoever listens there is on this machine.
fn is_near(host: &str) -> bool {
    let is_loopback = |address: IpAddr| address.is_loopback();
    host.starts_with('/') || host == "localhost" || host.parse().is_ok_and(is_loopback)
}

/// The usual sockets have no name of their own there.
fn in_passfile(host: &str) -> &str {
    if host == SOCKETS { "localhost" } else { host }
}

/// As libpq does, a file that others may read is left alone.
fn read_private(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let found = file.metadata().ok().filter(fs::Metadata::is_file)?;
    if found.mode() & 0o077 != 0 {
        let passfile = escape_path(path);
        warn!(passfile, "others may read or change this file of passwords, and it is not read: chmod 600");
        return None;
    }
    let mut text = String::new();
    file.read_to_string(&mut text).ok().map(|_| text)
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', r"\\").replace('\'', r"\'"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tokio_postgres::config::Host;

    use super::*;

    type Environment<'e> = &'e [(&'e str, &'e str)];

    fn said<T>(typed: &str, environment: Environment<'_>, read: impl FnOnce(&Said<'_>) -> T) -> T {
        let url = DatabaseUrl::of(Path::new(typed)).unwrap().unwrap();
        let variable = |name: &str| {
            environment.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned())
        };
        read(&Said { url: &url, variable: &variable })
    }

    fn chosen(typed: &str, environment: Environment<'_>) -> (Result<Mode, InvalidMode>, Option<String>) {
        said(typed, environment, |said| (said.mode(), said.password()))
    }

    fn config(typed: &str, environment: Environment<'_>) -> Config {
        said(typed, environment, |said| said.conninfo(said.mode().unwrap()).parse().unwrap())
    }

    #[test]
    fn the_url_goes_before_the_environment() {
        let environment = [
            ("PGHOST", "other.example"),
            ("PGPORT", "6000"),
            ("PGUSER", "o'brien\\"),
            ("PGDATABASE", "theirs"),
            ("PGOPTIONS", "-c x=1"),
            ("USER", "nobody"),
        ];
        let both = config("postgres://me@db.example/ours", &environment);
        assert_eq!(both.get_hosts(), [Host::Tcp("db.example".into())]);
        assert_eq!((both.get_user(), both.get_dbname()), (Some("me"), Some("ours")));
        assert_eq!((both.get_ports(), both.get_options()), (&[6000][..], Some("-c x=1")));
        let alone = config("postgres://", &environment);
        assert_eq!(alone.get_hosts(), [Host::Tcp("other.example".into())]);
        assert_eq!((alone.get_user(), alone.get_dbname()), (Some("o'brien\\"), Some("theirs")));
        let ports = |typed| config(typed, &[]).get_ports().to_vec();
        assert_eq!(ports("postgres://a:1,b/d"), [1, 5432]);
        assert_eq!(ports("postgres://a,b/d"), [5432, 5432]);
        assert_eq!(alone.get_application_name(), Some("v6fleet"));
        let idle = |typed| config(typed, &[]).get_keepalives_idle().as_secs();
        assert_eq!([idle("postgres://a/d"), idle("postgres://a/d?keepalives_idle=7")], [30, 7]);
    }

    #[test]
    fn who_listens_elsewhere_has_to_prove_who_he_is_unless_something_else_is_said() {
        let mode = |typed: &str, environment: Environment<'_>| chosen(typed, environment).0;
        for (typed, environment, expected) in [
            ("postgres://db.example/d", &[][..], Mode::VerifyFull),
            ("postgres://localhost.example/d", &[], Mode::VerifyFull),
            ("postgres://localhost,db.example/d", &[], Mode::VerifyFull),
            ("postgres://localhost/d", &[("PGHOSTADDR", "192.0.2.1")], Mode::VerifyFull),
            ("postgres://localhost/d", &[], Mode::Prefer),
            ("postgres://127.0.0.1,[::1]/d", &[], Mode::Prefer),
            ("postgres://%2Frun/d", &[], Mode::Prefer),
            ("postgres://localhost/d", &[("PGSSLMODE", "verify-full")], Mode::VerifyFull),
            ("postgres://db.example/d", &[("PGSSLMODE", "require")], Mode::Require),
            ("postgres://db.example/d?sslmode=disable", &[("PGSSLMODE", "require")], Mode::Disable),
        ] {
            assert_eq!(mode(typed, environment), Ok(expected), "{typed} {environment:?}");
        }
        assert_eq!(mode("postgres://h/d?sslmode=allow", &[]), Err(InvalidMode));
        assert_eq!(config("postgres://db.example/d", &[]).get_ssl_mode(), SslMode::Require);
    }

    #[test]
    fn a_password_comes_from_the_environment_or_a_file_that_nobody_else_may_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(".pgpass");
        fs::write(&file, "db.example:5432:fleet:me:secret\nlocalhost:5432:*:me:near\n").unwrap();
        let home = [("HOME", dir.path().to_str().unwrap())];
        let password = |typed: &str, environment: Environment<'_>| chosen(typed, environment).1;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(password("postgres://me@db.example/fleet", &home), None, "others may read it");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(password("postgres://me@db.example/fleet", &home).as_deref(), Some("secret"));
        assert_eq!(password("postgres://me@db.example:5433/fleet", &home), None);
        assert_eq!(password("postgres://me@localhost/other", &home).as_deref(), Some("near"));
        let named = [("PGPASSFILE", file.to_str().unwrap()), ("HOME", "/nowhere")];
        assert_eq!(password("postgres://me@db.example/fleet", &named).as_deref(), Some("secret"));
        let typed = [&home[..], &[("PGPASSWORD", "typed")]].concat();
        assert_eq!(password("postgres://me@db.example/fleet", &typed).as_deref(), Some("typed"));
    }
}
