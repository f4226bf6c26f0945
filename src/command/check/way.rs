//! The way to the API, step by step: what each step comes to, and what to do about it. Pure.

use std::io;
use std::net::{IpAddr, SocketAddr};

use jiff::{SignedDuration, Timestamp};

use crate::api::{ClientError, Credential, Fault, Flaw, Greeting, Knock, Meaning, Shown};
use crate::check::{Check, Finding};
use crate::command::exit;
use crate::dialect::Dialect;
use crate::outcome::Offset;
use crate::stop::Stop;
use crate::text::{counted, duration};

/// How far our clock may be from the server's.
const CLOCK: SignedDuration = SignedDuration::from_secs(30);

/// Days before its end at which a certificate is worth a word.
const DAYS: i64 = 14;

const SECONDS_A_DAY: i64 = 86_400;

/// The way as it is gone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Course {
    pub(super) dialect: Dialect,
    pub(super) is_encrypted: bool,
    pub(super) is_proxied: bool,
}

/// What a run that reaches nobody ends with.
fn unreachable() -> u8 {
    Stop::MaxWait.exit_code()
}

/// What a client that cannot be made is wrong in.
pub(super) fn of_client(error: &ClientError) -> Check {
    match error {
        ClientError::Proxy(_) | ClientError::UnfitProxy(_) => Check::Proxy,
        ClientError::Pem(_) | ClientError::Root(_) | ClientError::NoRoots | ClientError::Verifier(_) => {
            Check::Certificate
        }
        ClientError::Key | ClientError::Mask(_) => Check::Key,
        ClientError::Client(_) => Check::Api,
    }
}

/// `typed`: it was named by an option, else by the environment.
pub(super) fn proxy(course: Course, host: &str, port: u16, typed: bool) -> Finding {
    let source = if typed { "--proxy" } else { "the environment" };
    match course.is_proxied {
        true => Finding::ok(Check::Proxy, format!("{host}:{port}, from {source}")),
        false => Finding::ok(Check::Proxy, "none"),
    }
}

pub(super) fn name(host: &str, found: &io::Result<Vec<SocketAddr>>) -> Finding {
    match found {
        _ if host.parse::<IpAddr>().is_ok() => Finding::ok(Check::Name, format!("{host} is an address")),
        Ok(addresses) if !addresses.is_empty() => {
            let addresses: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
            Finding::ok(Check::Name, format!("{host} is {}", addresses.join(", ")))
        }
        found => {
            let why = found.as_ref().err().map_or("it has no address".to_owned(), ToString::to_string);
            Finding::error(Check::Name, format!("{host} cannot be resolved: {why}"), unreachable())
                .with_remedy(
                    "check --base-url (or --proxy), and this machine's name service (/etc/resolv.conf)",
                )
        }
    }
}

pub(super) fn tcp(host: &str, port: u16, connected: &io::Result<()>) -> Finding {
    match connected {
        Ok(()) => Finding::ok(Check::Tcp, format!("{host}:{port} takes connections")),
        Err(error) => {
            let says = format!("{host}:{port} takes no connection: {error}");
            Finding::error(Check::Tcp, says, unreachable()).with_remedy(
                "check the port of --base-url (or --proxy), and what stands between: a firewall, or a proxy that has to \
                 be named (--proxy)",
            )
        }
    }
}

/// What cannot be looked at where there is no connection.
pub(super) fn beyond_reach(why: &str) -> [Finding; 4] {
    [Check::Tls, Check::Certificate, Check::Api, Check::Clock].map(|check| Finding::unchecked(check, why))
}

/// What a request that is about no VM tells.
pub(super) fn beyond(course: Course, knock: &Knock, now: Timestamp) -> Vec<Finding> {
    let broken = knock.attempt.result.as_ref().err().map(|fault| breakage(course, knock.certificate, fault));
    let at = |check: Check| broken.as_ref().filter(|finding| finding.check == check).cloned();
    let or_unchecked = |check: Check, found: Finding| match &broken {
        None => found,
        Some(finding) if finding.check == check => finding.clone(),
        Some(finding) => Finding::unchecked(check, format!("see {}", finding.check)),
    };
    let tls = if course.is_encrypted { "spoken" } else { "not spoken: plain HTTP, on this machine alone" };
    let certificate = at(Check::Certificate).or_else(|| certificate(knock.certificate, now));
    let api = match &knock.attempt.result {
        Ok(greeting) => answered(course, greeting),
        Err(_) => Finding::unchecked(Check::Api, ""),
    };
    let clock = clock(knock.attempt.offset_by_date());
    let all = [
        at(Check::Proxy),
        Some(or_unchecked(Check::Tls, Finding::ok(Check::Tls, tls))),
        certificate,
        Some(or_unchecked(Check::Api, api)),
        Some(or_unchecked(Check::Clock, clock)),
    ];
    all.into_iter().flatten().collect()
}

/// Which step an unanswered request did not get over.
fn breakage(course: Course, certificate: Option<Shown>, fault: &Fault) -> Finding {
    let refused = Stop::CertificateRefused.exit_code();
    let flaw = certificate.and_then(|shown| shown.flaw);
    match (flaw, fault.meaning) {
        (Some(flaw), _) => {
            Finding::error(Check::Certificate, &fault.message, refused).with_remedy(mended(flaw, course))
        }
        (None, Meaning::Refused(Credential::Certificate)) => {
            Finding::error(Check::Tls, &fault.message, refused)
                .with_remedy("check --base-url: the API is not known to ask for certificates")
        }
        (None, _) if certificate.is_some() || !course.is_encrypted => {
            Finding::error(Check::Api, format!("no answer: {}", fault.message), unreachable())
                .with_remedy(elsewhere(course))
        }
        (None, _) if course.is_proxied => {
            let says = format!("the proxy does not let us through to the API: {}", fault.message);
            Finding::error(Check::Proxy, says, unreachable()).with_remedy(
                "check --proxy (or HTTPS_PROXY) and what it wants to know of us, or name the API in NO_PROXY",
            )
        }
        (None, _) => Finding::error(Check::Tls, &fault.message, unreachable())
            .with_remedy("check --base-url: host, port, and https:// where TLS is spoken"),
    }
}

fn mended(flaw: Flaw, course: Course) -> &'static str {
    match flaw {
        Flaw::Expired => {
            "check this machine's clock; if it is right, whoever runs the server has to renew it"
        }
        Flaw::NotYetValid => "check this machine's clock",
        Flaw::OtherName => "check --base-url: another server answers under this name",
        Flaw::Unknown if course.is_proxied => {
            "a proxy may answer in the API's place: have it let the API through, or trust it with --ca-file"
        }
        Flaw::Unknown => "install the system's CA certificates, or name the authority's with --ca-file",
        Flaw::Other => "whoever runs the server has to mend it",
    }
}

/// `None` where none was shown.
fn certificate(shown: Option<Shown>, now: Timestamp) -> Option<Finding> {
    let Some(until) = shown?.until else { return Some(Finding::ok(Check::Certificate, "trusted")) };
    let days = until.duration_since(now).as_secs() / SECONDS_A_DAY;
    let left = counted(days.max(0).unsigned_abs(), "more day", "more days");
    let says = format!("trusted for {left}, until {}", until.strftime("%Y-%m-%d"));
    Some(match days < DAYS {
        true => Finding::warning(Check::Certificate, says)
            .with_remedy("whoever runs the server has to renew it before then"),
        false => Finding::ok(Check::Certificate, says),
    })
}

/// Who answered, and whether that is the API.
fn answered(course: Course, greeting: &Greeting) -> Finding {
    let Greeting { status, is_json, says } = greeting;
    let what = says.as_deref().map(|says| format!(" ({says})")).unwrap_or_default();
    let answer = format!("HTTP {status}{what}");
    // v2 lets nobody in without a key.
    let is_apis = *is_json && (course.dialect == Dialect::V1 || matches!(status, 401 | 403));
    match (*status, is_apis) {
        (429, _) => Finding::warning(Check::Api, format!("it refuses calls for their rate: {answer}"))
            .with_remedy("see who else calls it from here; a run waits as long as it is asked to"),
        (500.., _) => Finding::error(Check::Api, format!("it is in trouble: {answer}"), unreachable())
            .with_remedy("try again later; a run waits as long as --max-wait"),
        (_, true) => Finding::ok(Check::Api, "it answers"),
        // v1 is not known to answer at its own door.
        (404 | 405, false) if course.dialect == Dialect::V1 => {
            Finding::warning(Check::Api, format!("whether it is the API that answers is not known: {answer}"))
                .with_remedy(elsewhere(course))
        }
        (status, false) => {
            let says = format!("something else answers in the API's place: {answer}");
            Finding::error(Check::Api, says, ended_by(status)).with_remedy(elsewhere(course))
        }
    }
}

/// What a run ends with whose every call is answered so: it waits for what may pass, and gives up after the first VMs else.
fn ended_by(status: u16) -> u8 {
    match status {
        200..=299 | 401 | 403 | 408 | 425 => unreachable(),
        _ => exit::BRAKED,
    }
}

fn elsewhere(course: Course) -> &'static str {
    match course.is_proxied {
        true => "check what the proxy makes of it (--proxy, HTTPS_PROXY, NO_PROXY), and --base-url",
        false => {
            "check --base-url, and what stands between: a portal that wants a login, a firewall, a proxy"
        }
    }
}

/// How far our clock is from the server's.
fn clock(offset: Option<Offset>) -> Finding {
    let Some(Offset { least, most }) = offset else {
        return Finding::unchecked(Check::Clock, "the answer has no Date");
    };
    let seconds = |time: SignedDuration| duration(time.abs().as_secs_f64());
    let off = |by: SignedDuration, word: &str| {
        Finding::warning(Check::Clock, format!("this machine's is {} {word} the server's", seconds(by)))
            .with_remedy(
                "set it, and keep it right (timedatectl set-ntp true): certificates and reports go by it",
            )
    };
    if least > CLOCK {
        off(least, "behind")
    } else if most < -CLOCK {
        off(most, "ahead of")
    } else {
        let within = least.abs().max(most.abs());
        Finding::ok(Check::Clock, format!("within {} of the server's", seconds(within)))
    }
}
