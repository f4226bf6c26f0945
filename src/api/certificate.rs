//! The certificate that a server has shown: until when it holds, and what is wrong with it.

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{CertificateError, Error, OtherError};
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// A certificate as it was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// `None` where it says nothing of it that can be read.
    pub until: Option<Timestamp>,
    /// `None` where it was trusted.
    pub flaw: Option<Flaw>,
}

/// Why a certificate was not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    Expired,
    NotYetValid,
    /// It is another host's.
    OtherName,
    /// Nobody whom we trust vouches for it.
    Unknown,
    Other,
}

impl Shown {
    /// `error` is what was said of it where it was not trusted.
    pub(super) fn of(certificate: &CertificateDer<'_>, error: Option<&Error>) -> Self {
        Self { until: until(certificate), flaw: error.map(Flaw::of) }
    }
}

impl Flaw {
    fn of(error: &Error) -> Self {
        use CertificateError::{
            BadSignature, Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet,
            NotValidYetContext, UnknownIssuer,
        };
        match error {
            Error::InvalidCertificate(error) => match error {
                Expired | ExpiredContext { .. } => Self::Expired,
                NotValidYet | NotValidYetContext { .. } => Self::NotYetValid,
                NotValidForName | NotValidForNameContext { .. } => Self::OtherName,
                // An authority of the same name with another key is another authority.
                UnknownIssuer | BadSignature => Self::Unknown,
                _ => Self::of_other(error),
            },
            _ => Self::Other,
        }
    }

    fn of_other(error: &CertificateError) -> Self {
        let own = is_an_authoritys(&Error::InvalidCertificate(error.clone()));
        if own { Self::Unknown } else { Self::Other }
    }
}

/// Why a certificate was not trusted, for people; `None` of other errors.
pub(super) fn in_words(error: &Error) -> Option<String> {
    use CertificateError::{ExpiredContext, NotValidYetContext};
    let Error::InvalidCertificate(flaw) = error else { return None };
    Some(match flaw {
        ExpiredContext { not_after, .. } => format!("certificate expired at {}", moment(*not_after)),
        NotValidYetContext { not_before, .. } => {
            format!("certificate not valid before {}", moment(*not_before))
        }
        _ if is_an_authoritys(error) => {
            "the server shows the certificate of an authority itself: to trust it, name it with --ca-file"
                .into()
        }
        _ => error.to_string(),
    })
}

fn moment(at: UnixTime) -> String {
    let at = at.as_secs().try_into().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    at.map_or_else(|| "an unknown time".to_owned(), |at| at.to_string())
}

/// Whether a certificate was not taken from a server because it is an authority's.
pub(super) fn is_an_authoritys(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) = error else { return false };
    cause.downcast_ref::<webpki::Error>() == Some(&webpki::Error::CaUsedAsEndEntity)
}

fn until(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let until = certificate.tbs_certificate.validity.not_after.to_unix_duration();
    Timestamp::from_second(until.as_secs().try_into().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn a_certificate_tells_until_when_it_holds() {
        let key = KeyPair::generate().unwrap();
        for (year, expected) in [(2027, "2027-03-01T00:00:00Z"), (2051, "2051-03-01T00:00:00Z")] {
            let mut params = CertificateParams::default();
            params.not_after = date_time_ymd(year, 3, 1);
            let certificate = params.self_signed(&key).unwrap();
            assert_eq!(until(certificate.der()).unwrap().to_string(), expected);
        }
        assert_eq!(until(&CertificateDer::from(&b"\x30\x03abc"[..])), None);
    }

    #[test]
    fn a_certificate_that_is_not_valid_now_is_told_with_the_day() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let (time, not_after, not_before) = (at(1_795_770_428), at(1_738_368_000), at(1_900_000_000));
        for (error, words) in [
            (
                CertificateError::ExpiredContext { time, not_after },
                "certificate expired at 2025-02-01T00:00:00Z",
            ),
            (
                CertificateError::NotValidYetContext { time, not_before },
                "certificate not valid before 2030-03-17T17:46:40Z",
            ),
            (
                CertificateError::ExpiredContext { time, not_after: at(u64::MAX) },
                "certificate expired at an unknown time",
            ),
            (CertificateError::Revoked, "invalid peer certificate: Revoked"),
        ] {
            assert_eq!(in_words(&Error::InvalidCertificate(error)).unwrap(), words);
        }
        assert_eq!(in_words(&Error::NoCertificatesPresented), None);
    }

    #[test]
    fn a_flaw_is_told_from_what_was_said_of_the_certificate() {
        for (error, flaw) in [
            (CertificateError::Expired, Flaw::Expired),
            (CertificateError::NotValidYet, Flaw::NotYetValid),
            (CertificateError::NotValidForName, Flaw::OtherName),
            (CertificateError::UnknownIssuer, Flaw::Unknown),
            (CertificateError::Revoked, Flaw::Other),
        ] {
            assert_eq!(Flaw::of(&Error::InvalidCertificate(error)), flaw);
        }
        assert_eq!(Flaw::of(&Error::NoCertificatesPresented), Flaw::Other);
    }
}
