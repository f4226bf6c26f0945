//! What an attempt means for whoever decides what comes next.
//!
//! It is told here, once, from the status, the API's own word for the error, and whether it was the API that answered:
//! afterwards nobody looks at those, and everybody matches on this.

use super::error_body::ErrorBody;
use crate::outcome::Failure;

/// What an attempt without success means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The API refused the call for its rate: everybody is to wait.
    Throttled,
    /// Whether that is this VM's failure or the whole run's, other answers tell.
    Refused(Credential),
    /// Whatever stands before the API refused the call, not the API: another one may get through.
    Edge,
    /// It failed, or its answer was lost, in a way that may well pass.
    Transient,
    /// There was no connection to the API.
    Unreachable,
    /// The API said that it did not look at the call, and is none the worse: it may be made again at once.
    Unseen,
    /// It could not be made for want of something of our own, such as file descriptors: it says nothing of the API.
    Hampered,
    /// The VM cannot have its allocation yet.
    NotReady,
    /// The VM's state and the call do not go together.
    Conflict,
    /// The same from something before the API.
    EdgeConflict,
    /// The API knows no such VM.
    NotFound,
    /// Another call would end like this one.
    Final,
}

/// What the two sides show each other to be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    Key,
    Certificate,
}

/// How a call stood with the API's rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It was taken in, whatever was made of it.
    Accepted,
    /// It was refused for its rate.
    Refused,
    /// No answer came, or one of somebody in trouble.
    Unknown,
}

impl Admission {
    /// `None` is a call to which no answer began to come.
    pub(super) fn of(status: Option<u16>) -> Self {
        match status {
            Some(429) => Self::Refused,
            Some(..500) => Self::Accepted,
            Some(500..) | None => Self::Unknown,
        }
    }
}

/// What a call came to: the word that people are told, what code goes by, and what it may have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sense {
    pub(super) failure: Failure,
    pub(super) meaning: Meaning,
    /// The call may have acted without our learning its answer.
    pub(super) may_have_applied: bool,
}

impl Sense {
    /// A success that cannot be understood, or did not come whole: it may well have acted.
    pub(super) const MALFORMED: Self = Self::lost(Failure::MalformedAnswer);

    /// A 2xx that says `success: false`.
    pub(super) const REFUSED: Self = Self::idle(Failure::RefusedByApi, Meaning::Final);

    /// The call left, and its answer was lost.
    pub(super) const fn lost(failure: Failure) -> Self {
        Self { failure, meaning: Meaning::Transient, may_have_applied: true }
    }

    /// The call did nothing.
    pub(super) const fn idle(failure: Failure, meaning: Meaning) -> Self {
        Self { failure, meaning, may_have_applied: false }
    }

    /// Of an answer whose status is not 2xx.
    pub(super) fn of_error(status: u16, body: &ErrorBody) -> Self {
        let (failure, meaning) = meaning(status, body);
        let upstream_failed = status == 409 && body.code.as_deref() == Some(UPSTREAM_FAILED);
        let may_have_applied =
            matches!(status, 408 | 500..=599) || upstream_failed || failure == Failure::MalformedAnswer;
        Self { failure, meaning, may_have_applied }
    }
}

/// The API's words for conflicts that pass.
const NOT_READY: &str = "vps_not_ready";
const UPSTREAM_FAILED: &str = "upstream_failed";

fn meaning(status: u16, body: &ErrorBody) -> (Failure, Meaning) {
    match (status, body.json) {
        (300..=303 | 305 | 307 | 308, _) => (Failure::Redirected, Meaning::Final),
        (401, true) => (Failure::Unauthorized, Meaning::Refused(Credential::Key)),
        (401, false) => (Failure::Unauthorized, Meaning::Edge),
        (403, true) => (Failure::Forbidden, Meaning::Final),
        (403, false) => (Failure::Forbidden, Meaning::Edge),
        (404, true) => (Failure::NotFound, Meaning::NotFound),
        (404, false) => (Failure::NotFound, Meaning::Final),
        (408 | 423 | 425, _) => (Failure::Rejected, Meaning::Transient),
        (409, true) => match body.code.as_deref() {
            Some(NOT_READY | UPSTREAM_FAILED) => (Failure::Conflict, Meaning::NotReady),
            Some(_) | None => (Failure::Conflict, Meaning::Conflict),
        },
        (409, false) => (Failure::Conflict, Meaning::EdgeConflict),
        (429, _) => (Failure::RateLimited, Meaning::Throttled),
        (400..=499, _) => (Failure::Rejected, Meaning::Final),
        (500 | 502..=504 | 507 | 520..=530 | 598 | 599, _) => (Failure::ServerError, Meaning::Transient),
        (500..=599, _) => (Failure::ServerError, Meaning::Final),
        // Nothing that an answer to a POST can mean: 101, 304, 700.
        (..300 | 304 | 306 | 309..=399 | 600.., _) => (Failure::MalformedAnswer, Meaning::Final),
    }
}

#[cfg(test)]
mod tests {
    use crate::api::answered;

    /// What a status means with this body: the statuses of one meaning that follow each other are one line.
    fn meanings(body: &str) -> Vec<String> {
        let meaning = |status: u16| {
            let attempt = answered(status, body.as_bytes());
            let fault = attempt.result.as_ref().unwrap_err();
            let applied = if fault.may_have_applied { "unanswered" } else { "answered" };
            format!("{} {:?} {applied} {:?}", fault.failure, fault.meaning, attempt.admission())
        };
        let all: Vec<(u16, String)> = (100..1000).map(|status| (status, meaning(status))).collect();
        let line = |same: &[(u16, String)]| match same {
            [(only, meaning)] => format!("{only} {meaning}"),
            _ => format!("{}-{} {}", same[0].0, same[same.len() - 1].0, same[0].1),
        };
        all.chunk_by(|(_, a), (_, b)| a == b).map(line).collect()
    }

    #[test]
    fn every_status_has_its_failure_and_its_meaning_is_answered_or_not_and_accepted_or_not() {
        assert_eq!(
            meanings("{}"),
            [
                "100-199 malformed_answer Final unanswered Accepted",
                "200-299 malformed_answer Transient unanswered Accepted",
                "300-303 redirected Final answered Accepted",
                "304 malformed_answer Final unanswered Accepted",
                "305 redirected Final answered Accepted",
                "306 malformed_answer Final unanswered Accepted",
                "307-308 redirected Final answered Accepted",
                "309-399 malformed_answer Final unanswered Accepted",
                "400 rejected Final answered Accepted",
                "401 unauthorized Refused(Key) answered Accepted",
                "402 rejected Final answered Accepted",
                "403 forbidden Final answered Accepted",
                "404 not_found NotFound answered Accepted",
                "405-407 rejected Final answered Accepted",
                "408 rejected Transient unanswered Accepted",
                "409 conflict Conflict answered Accepted",
                "410-422 rejected Final answered Accepted",
                "423 rejected Transient answered Accepted",
                "424 rejected Final answered Accepted",
                "425 rejected Transient answered Accepted",
                "426-428 rejected Final answered Accepted",
                "429 rate_limited Throttled answered Refused",
                "430-499 rejected Final answered Accepted",
                "500 server_error Transient unanswered Unknown",
                "501 server_error Final unanswered Unknown",
                "502-504 server_error Transient unanswered Unknown",
                "505-506 server_error Final unanswered Unknown",
                "507 server_error Transient unanswered Unknown",
                "508-519 server_error Final unanswered Unknown",
                "520-530 server_error Transient unanswered Unknown",
                "531-597 server_error Final unanswered Unknown",
                "598-599 server_error Transient unanswered Unknown",
                "600-999 malformed_answer Final unanswered Unknown",
            ]
        );
    }

    /// The lines that another body changes.
    fn otherwise(body: &str) -> Vec<String> {
        let usual = meanings("{}");
        meanings(body).into_iter().filter(|line| !usual.contains(line)).collect()
    }

    #[test]
    fn what_is_not_json_comes_from_the_edge_before_the_api() {
        assert_eq!(
            otherwise("<html>no</html>"),
            [
                "401 unauthorized Edge answered Accepted",
                "403 forbidden Edge answered Accepted",
                "404 not_found Final answered Accepted",
                "409 conflict EdgeConflict answered Accepted",
            ]
        );
    }

    #[test]
    fn a_conflict_is_told_by_the_apis_own_word() {
        for (code, expected) in [
            ("vps_not_ready", &["409 conflict NotReady answered Accepted"][..]),
            ("UPSTREAM_FAILED", &["409 conflict NotReady unanswered Accepted"]),
            ("conflict", &[]),
        ] {
            assert_eq!(otherwise(&format!(r#"{{"code":"{code}"}}"#)), expected, "{code}");
        }
    }

    #[test]
    fn a_2xx_that_refuses_is_final() {
        let refused = otherwise(r#"{"success":false}"#);
        assert_eq!(refused, ["200-299 refused_by_api Final answered Accepted"]);
    }
}
