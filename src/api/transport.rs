//! What a call comes to that the HTTP client could not bring to an end.
//!
//! Told from the types of the errors along their chain, and from whether the call had left; their text is for people.

use std::error::Error;
use std::io;

use rustls::AlertDescription::{
    BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked, CertificateUnknown,
    NoCertificate, UnknownCA, UnsupportedCertificate,
};
use rustls::{AlertDescription, InvalidMessage};

use super::attempt::Fault;
use super::certificate;
use super::clip::clip;
use super::meaning::{Credential, Meaning, Sense};
use crate::outcome::Failure;

/// What is known beside the error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// The call had left.
    pub(super) has_left: bool,
    /// The API asked for a certificate of ours, and has never answered anything since.
    pub(super) owes_certificate: bool,
}

/// What the HTTP client says of its error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Symptoms {
    /// There was no connection yet.
    connecting: bool,
    timed_out: bool,
}

impl Symptoms {
    fn of(error: &reqwest::Error) -> Self {
        Self { connecting: error.is_connect(), timed_out: error.is_timeout() }
    }
}

/// How a call ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Breach {
    /// The API's certificate is not to be trusted.
    Untrusted,
    /// The API wants to see a certificate of ours.
    CertificateDemanded,
    /// It left, and the API said that it did not look at it.
    Unseen,
    /// It never left.
    Unsent,
    /// It never left: the machine that we run on has no file descriptor left.
    Hampered,
    /// It left, and the connection went silent.
    Silence,
    /// It left, and was cut off.
    Cut,
}

/// The fault of a call to which no answer began to come.
pub(super) fn fault(error: &reqwest::Error, known: Known) -> Fault {
    let symptoms = Symptoms::of(error);
    of_breach(breach(error, symptoms, known), error, symptoms)
}

/// The fault of an answer that did not come whole.
pub(super) fn of_body(error: &reqwest::Error) -> Fault {
    let symptoms = Symptoms::of(error);
    let breach = if symptoms.timed_out { Breach::Silence } else { Breach::Cut };
    of_breach(breach, error, symptoms)
}

/// The fault of a call that left and had no answer in time.
pub(super) fn late() -> Fault {
    Fault::of(Sense::lost(Failure::Timeout), "no answer within the timeout".into())
}

/// The fault of a call that found no connection, or no room on it, while nothing else was answered either.
pub(super) fn stuck() -> Fault {
    let message = "no connection, or no room on it, within the timeout".into();
    Fault::of(Sense::idle(Failure::Connect, Meaning::Unreachable), message)
}

fn of_breach(breach: Breach, error: &(dyn Error + 'static), symptoms: Symptoms) -> Fault {
    let sense = match breach {
        Breach::Untrusted | Breach::CertificateDemanded => {
            Sense::idle(Failure::Tls, Meaning::Refused(Credential::Certificate))
        }
        Breach::Unseen => Sense::idle(Failure::Connect, Meaning::Unseen),
        Breach::Unsent => Sense::idle(Failure::Connect, Meaning::Unreachable),
        Breach::Hampered => Sense::idle(Failure::Connect, Meaning::Hampered),
        Breach::Silence => Sense::lost(Failure::Timeout),
        Breach::Cut => Sense::MALFORMED,
    };
    Fault::of(sense, clip(&message(breach, error, symptoms)))
}

fn breach(error: &(dyn Error + 'static), symptoms: Symptoms, known: Known) -> Breach {
    let said = chain(error).find_map(|error| {
        let of_tls = error.downcast_ref().and_then(|error| of_tls(error, known));
        let of_tls = of_tls.or_else(|| error.downcast_ref().and_then(of_http2));
        of_tls.or_else(|| error.downcast_ref().and_then(of_system))
    });
    match said {
        Some(breach) => breach,
        None if symptoms.connecting => Breach::Unsent,
        None if symptoms.timed_out && known.has_left => Breach::Silence,
        // In TLS 1.3 the alert comes after the handshake, and is lost where we were just writing.
        None if known.owes_certificate => Breach::CertificateDemanded,
        None if known.has_left => Breach::Cut,
        None => Breach::Unsent,
    }
}

/// Too many open files, of the process or of the machine.
fn of_system(error: &io::Error) -> Option<Breach> {
    let code = rustix::io::Errno::from_io_error(error)?;
    matches!(code, rustix::io::Errno::MFILE | rustix::io::Errno::NFILE).then_some(Breach::Hampered)
}

/// What an error of TLS says of certificates.
fn of_tls(error: &rustls::Error, known: Known) -> Option<Breach> {
    match error {
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
            Some(Breach::Untrusted)
        }
        rustls::Error::AlertReceived(alert) if known.owes_certificate || is_of_a_certificate(*alert) => {
            Some(Breach::CertificateDemanded)
        }
        _ => None,
    }
}

/// TLS 1.3 sends them after the handshake; that of 1.2 fails with any.
fn is_of_a_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        CertificateRequired
            | NoCertificate
            | BadCertificate
            | UnsupportedCertificate
            | CertificateRevoked
            | CertificateExpired
            | CertificateUnknown
            | UnknownCA
    )
}

/// What an error of HTTP/2 says of one call. RFC 9113, 8.7: neither of these two was looked at.
fn of_http2(error: &h2::Error) -> Option<Breach> {
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    (error.is_remote() && (error.is_go_away() || refused)).then_some(Breach::Unseen)
}

fn message(breach: Breach, error: &(dyn Error + 'static), symptoms: Symptoms) -> String {
    let innermost = chain(error).last().map_or_else(String::new, ToString::to_string);
    match breach {
        Breach::Untrusted => {
            let of_tls = chain(error).find_map(|error| error.downcast_ref::<rustls::Error>());
            of_tls.and_then(certificate::in_words).unwrap_or(innermost)
        }
        Breach::CertificateDemanded => {
            "the API demands a client certificate, and there is none to show".into()
        }
        Breach::Unseen => format!("refused unseen: {innermost}"),
        Breach::Unsent if symptoms.timed_out => "no connection within the connect timeout".into(),
        Breach::Unsent if is_no_tls(error) => "there is no TLS at this port".into(),
        Breach::Unsent => innermost,
        Breach::Hampered => format!("no file descriptor is left: {innermost}"),
        Breach::Silence => "the connection went silent".into(),
        Breach::Cut => format!("the answer was cut off: {innermost}"),
    }
}

fn is_no_tls(error: &(dyn Error + 'static)) -> bool {
    let no_tls = rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType);
    chain(error).any(|error| error.downcast_ref() == Some(&no_tls))
}

/// An error and what it comes from, the outermost first.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        // An io::Error's source is its content's source: the content itself is behind get_ref.
        let content = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        content.map(|content| content as &(dyn Error + 'static)).or_else(|| error.source())
    })
}

#[cfg(test)]
mod tests {
    use rustls::{CertificateError, PeerIncompatible};

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("around another")]
    struct Around(#[source] io::Error);

    fn tls(error: rustls::Error) -> Around {
        Around(io::Error::new(io::ErrorKind::InvalidData, error))
    }

    const NOT_LEFT: Known = Known { has_left: false, owes_certificate: false };
    const LEFT: Known = Known { has_left: true, ..NOT_LEFT };
    const OWING: Known = Known { owes_certificate: true, ..LEFT };

    const CONNECTING: Symptoms = Symptoms { connecting: true, timed_out: false };
    const CONNECTED: Symptoms = Symptoms { connecting: false, timed_out: false };
    const TIMED_OUT: Symptoms = Symptoms { connecting: false, timed_out: true };

    #[test]
    fn of_tls_only_certificates_are_final() {
        use rustls::Error::{AlertReceived, InvalidCertificate, PeerIncompatible as Incompatible};
        let unknown = || InvalidCertificate(CertificateError::UnknownIssuer);
        let no_tls = rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType);
        for (error, symptoms, known, expected) in [
            (InvalidCertificate(CertificateError::Expired), CONNECTING, NOT_LEFT, Breach::Untrusted),
            (unknown(), CONNECTING, NOT_LEFT, Breach::Untrusted),
            (rustls::Error::NoCertificatesPresented, CONNECTING, NOT_LEFT, Breach::Untrusted),
            (AlertReceived(CertificateRequired), CONNECTING, NOT_LEFT, Breach::CertificateDemanded),
            (AlertReceived(CertificateRequired), CONNECTED, LEFT, Breach::CertificateDemanded),
            (AlertReceived(BadCertificate), CONNECTED, LEFT, Breach::CertificateDemanded),
            (AlertReceived(AlertDescription::HandshakeFailure), CONNECTING, NOT_LEFT, Breach::Unsent),
            (
                AlertReceived(AlertDescription::HandshakeFailure),
                CONNECTING,
                OWING,
                Breach::CertificateDemanded,
            ),
            (AlertReceived(AlertDescription::InternalError), CONNECTING, NOT_LEFT, Breach::Unsent),
            (AlertReceived(AlertDescription::InternalError), CONNECTED, LEFT, Breach::Cut),
            (no_tls, CONNECTING, NOT_LEFT, Breach::Unsent),
            (Incompatible(PeerIncompatible::NoCipherSuitesInCommon), CONNECTING, NOT_LEFT, Breach::Unsent),
            (rustls::Error::DecryptError, CONNECTED, LEFT, Breach::Cut),
        ] {
            let name = format!("{error:?} {symptoms:?} {known:?}");
            assert_eq!(breach(&tls(error), symptoms, known), expected, "{name}");
        }
    }

    #[test]
    fn what_has_not_left_was_not_sent_whatever_broke() {
        for kind in [io::ErrorKind::ConnectionReset, io::ErrorKind::UnexpectedEof, io::ErrorKind::InvalidData]
        {
            let error = Around(kind.into());
            for (symptoms, known, expected) in [
                (CONNECTING, NOT_LEFT, Breach::Unsent),
                (CONNECTING, OWING, Breach::Unsent),
                (CONNECTED, NOT_LEFT, Breach::Unsent),
                (TIMED_OUT, NOT_LEFT, Breach::Unsent),
                (CONNECTED, LEFT, Breach::Cut),
                (TIMED_OUT, LEFT, Breach::Silence),
                (TIMED_OUT, OWING, Breach::Silence),
                (CONNECTED, OWING, Breach::CertificateDemanded),
            ] {
                assert_eq!(breach(&error, symptoms, known), expected, "{kind} {symptoms:?} {known:?}");
            }
        }
        // Not said by the other side: a reason alone tells nothing.
        let error = h2::Error::from(h2::Reason::REFUSED_STREAM);
        assert_eq!(breach(&error, CONNECTED, LEFT), Breach::Cut);
    }

    #[test]
    fn a_breach_says_what_it_means_for_the_vm() {
        let error = Around(io::ErrorKind::BrokenPipe.into());
        let certificate = Meaning::Refused(Credential::Certificate);
        for (breach, failure, may_have_applied, meaning) in [
            (Breach::Untrusted, Failure::Tls, false, certificate),
            (Breach::CertificateDemanded, Failure::Tls, false, certificate),
            (Breach::Unseen, Failure::Connect, false, Meaning::Unseen),
            (Breach::Unsent, Failure::Connect, false, Meaning::Unreachable),
            (Breach::Hampered, Failure::Connect, false, Meaning::Hampered),
            (Breach::Silence, Failure::Timeout, true, Meaning::Transient),
            (Breach::Cut, Failure::MalformedAnswer, true, Meaning::Transient),
        ] {
            let fault = of_breach(breach, &error, CONNECTED);
            let sense = (fault.failure, fault.may_have_applied, fault.meaning);
            assert_eq!(sense, (failure, may_have_applied, meaning), "{breach:?}");
        }
    }

    #[test]
    fn the_line_says_what_to_do_about_tls() {
        let plain = tls(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType));
        assert_eq!(message(Breach::Unsent, &plain, CONNECTING), "there is no TLS at this port");
        let cause = rustls::OtherError(std::sync::Arc::new(webpki::Error::CaUsedAsEndEntity));
        let own = tls(rustls::Error::InvalidCertificate(CertificateError::Other(cause)));
        assert!(message(Breach::Untrusted, &own, CONNECTING).contains("--ca-file"));
        let alert = tls(rustls::Error::AlertReceived(AlertDescription::InternalError));
        assert_eq!(message(Breach::Unsent, &alert, CONNECTING), "received fatal alert: InternalError");
    }
}
