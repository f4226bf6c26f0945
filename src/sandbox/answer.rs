//! What is answered, and how it is written: status, headers and body, in the dialect of its path.

use axum::http::header::{ALLOW, CONTENT_TYPE, DATE, RETRY_AFTER, SERVER};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use jiff::{SignedDuration, Timestamp};

use super::announce::{announce, http_date, insert, say_when, whole_seconds};
use super::fault::{EdgeError, Fault, Lie, ServerError};
use super::json::json;
use super::limit::Standing;
use super::problem::{self, FAULT, Problem, Stamp, TOO_MANY_REQUESTS};
use super::route::{Route, dialect_of};
use super::routed::Routed;
use super::wire::{AllocationText, Envelope, EnvelopeData, RefusedEnvelope, TooMany, rfc3339};
use super::{RetryAfter, Settings};
use crate::dialect::Dialect;

/// An answer, still to be dated and sent.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    content: Content,
    /// How the call stands with the limit, where there is one and it got that far.
    pub(super) standing: Option<Standing>,
}

#[derive(Debug)]
enum Content {
    /// v1's envelope.
    Allocation {
        created: bool,
        allocation: Box<AllocationText>,
    },
    /// A whole body of v2's, which says nothing of when it is sent.
    Document(Vec<u8>),
    Problem(Box<Problem>),
    TooMany,
    /// As [`Self::TooMany`], with a wait that has nothing to do with a limit.
    Lie(Lie),
    /// A 2xx that says no, and why.
    Refused(Box<str>),
    /// HTML from the edge.
    Page,
}

/// How and when an answer is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sending<'a> {
    pub(super) path: &'a str,
    pub(super) at: Timestamp,
    /// The moment that it names, if any.
    pub(super) dated: Option<Timestamp>,
    pub(super) request_id: &'a str,
    pub(super) settings: &'a Settings,
}

impl Answer {
    fn new(status: StatusCode, content: Content) -> Self {
        Self { status, content, standing: None }
    }

    pub(super) fn problem(problem: Problem) -> Self {
        Self::new(problem.status, Content::Problem(problem.into()))
    }

    pub(super) fn too_many(standing: Option<Standing>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, Content::TooMany).with(standing)
    }

    /// v1's, of a call that succeeded.
    pub(super) fn allocation(created: bool, allocation: AllocationText) -> Self {
        Self::new(success(created), Content::Allocation { created, allocation: Box::new(allocation) })
    }

    /// v2's, of anything that succeeded.
    pub(super) fn document(created: bool, document: Vec<u8>) -> Self {
        Self::new(success(created), Content::Document(document))
    }

    /// A 200 that says no.
    pub(super) fn refused(reason: &str) -> Self {
        Self::new(StatusCode::OK, Content::Refused(reason.into()))
    }

    /// The same answer, to a call that stands so with the limit.
    pub(super) fn with(self, standing: Option<Standing>) -> Self {
        Self { standing, ..self }
    }

    /// What is answered in place of the `ordinary` answer; faults that spoil it on its way leave it as it is.
    pub(super) fn of(fault: Fault, standing: Option<Standing>, ordinary: Option<Self>) -> Option<Self> {
        let answer = match fault {
            Fault::Reset(_)
            | Fault::Hang(_)
            | Fault::StreamReset(_)
            | Fault::RefusedStream
            | Fault::GoAway
            | Fault::Silence(_)
            | Fault::LateEffect => return None,
            Fault::Late | Fault::Truncated | Fault::Garbage | Fault::Endless | Fault::List(_) => {
                return ordinary;
            }
            // The edge knows nothing of the API's limit.
            Fault::Html(error) => return Some(Self::new(edge_error(error), Content::Page)),
            Fault::Cached => return Some(Self::new(StatusCode::BAD_GATEWAY, Content::Page)),
            Fault::Status(error, _) => Self::problem(Problem::of_server(error)),
            Fault::Stale => Self::problem(Problem::of_server(ServerError::Unavailable)),
            Fault::Conflict(conflict) => Self::problem(Problem::of_conflict(conflict)),
            Fault::Inactive => Self::problem(problem::ACCOUNT_INACTIVE),
            Fault::RefusedByApi => Self::refused(FAULT),
            Fault::Lie(lie) => Self::new(StatusCode::TOO_MANY_REQUESTS, Content::Lie(lie)),
        };
        Some(answer.with(standing))
    }

    /// The answer as it is sent.
    pub(super) fn render(&self, sending: &Sending<'_>) -> Response<Vec<u8>> {
        let mut response = Response::new(self.body(sending));
        *response.status_mut() = self.status;
        let map = response.headers_mut();
        map.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type(dialect_of(sending.path))));
        if let Some(dated) = sending.dated {
            insert(map, DATE.as_str(), &http_date(dated));
        }
        self.explain(map, sending);
        if let Some(standing) = &self.standing {
            say_when(map, standing, sending.at, sending.settings.retry_after);
            announce(map, standing, sending.at, sending.settings);
        }
        response
    }

    /// The headers that belong to the status and to what is answered.
    fn explain(&self, map: &mut HeaderMap, sending: &Sending<'_>) {
        if let (StatusCode::METHOD_NOT_ALLOWED, Some(route)) = (self.status, Route::of(sending.path)) {
            map.insert(ALLOW, HeaderValue::from_static(route.methods()));
        }
        match &self.content {
            Content::Page => insert(map, SERVER.as_str(), "edge"),
            Content::Lie(lie) => insert(map, RETRY_AFTER.as_str(), &lie_text(*lie, sending.at)),
            Content::Allocation { .. }
            | Content::Document(_)
            | Content::Problem(_)
            | Content::TooMany
            | Content::Refused(_) => {}
        }
    }

    fn content_type(&self, dialect: Dialect) -> &'static str {
        match (&self.content, dialect) {
            (Content::Page, _) => "text/html; charset=UTF-8",
            (Content::Problem(_) | Content::TooMany | Content::Lie(_), Dialect::V2) => {
                "application/problem+json"
            }
            _ => "application/json; charset=utf-8",
        }
    }

    fn body(&self, sending: &Sending<'_>) -> Vec<u8> {
        let timestamp = sending.dated.map(rfc3339);
        let &Sending { path, request_id, .. } = sending;
        let dialect = dialect_of(path);
        match (&self.content, dialect) {
            (Content::Allocation { created, allocation }, _) => {
                let data = EnvelopeData { created: *created, allocation };
                json(&Envelope { success: true, timestamp, request_id, data })
            }
            (Content::Document(document), _) => document.clone(),
            (Content::Page, _) => page(self.status).into_bytes(),
            (Content::Problem(problem), _) => {
                problem.document(dialect, &Stamp { path, timestamp, request_id })
            }
            (Content::TooMany, Dialect::V2) => {
                problem::RATE_LIMITED.document(dialect, &Stamp { path, timestamp, request_id })
            }
            (Content::Lie(_), Dialect::V2) => {
                problem::RATE_LIMIT_EXCEEDED.document(dialect, &Stamp { path, timestamp, request_id })
            }
            (Content::TooMany, Dialect::V1) => self.too_many_of_v1(self.wait(sending), request_id),
            (&Content::Lie(lie), Dialect::V1) => {
                // As a date in the past, the header lies alone: no number can say the same.
                self.too_many_of_v1((lie != Lie::Past).then(|| lie_text(lie, sending.at)), request_id)
            }
            (Content::Refused(message), Dialect::V1) => {
                json(&RefusedEnvelope { success: false, message, timestamp, request_id })
            }
            (Content::Refused(reason), Dialect::V2) => json(&Routed::refused(reason)),
        }
    }

    fn too_many_of_v1(&self, retry_after: Option<String>, request_id: &str) -> Vec<u8> {
        let error = self.status.canonical_reason().unwrap_or("Unknown Error");
        json(&TooMany { error, message: TOO_MANY_REQUESTS, retry_after, request_id })
    }

    /// v1's `retryAfter`.
    fn wait(&self, sending: &Sending<'_>) -> Option<String> {
        let wait = self.standing.and_then(|standing| standing.wait);
        let wait = wait.filter(|_| sending.settings.retry_after != RetryAfter::None);
        wait.map(|wait| whole_seconds(wait).to_string())
    }
}

fn success(created: bool) -> StatusCode {
    if created { StatusCode::CREATED } else { StatusCode::OK }
}

fn edge_error(error: EdgeError) -> StatusCode {
    match error {
        EdgeError::Forbidden => StatusCode::FORBIDDEN,
        EdgeError::BadGateway => StatusCode::BAD_GATEWAY,
        // The edge's own, which no RFC names; any number from 100 to 999 is a status.
        EdgeError::Unknown => StatusCode::from_u16(520).unwrap_or(StatusCode::BAD_GATEWAY),
    }
}

fn page(status: StatusCode) -> String {
    let number = status.as_u16();
    let reason = status.canonical_reason().unwrap_or("Web server is returning an unknown error");
    format!(
        "<!DOCTYPE html>\n<html lang=\"en-US\">\n<head><title>{number}: {reason}</title></head>\n\
         <body><h1>Error {number}</h1><p>{reason}</p></body>\n</html>\n"
    )
}

fn lie_text(lie: Lie, now: Timestamp) -> String {
    match lie {
        Lie::Seconds(seconds) => seconds.to_string(),
        Lie::Zero => "0".into(),
        Lie::Negative => "-5".into(),
        Lie::Fraction => "1.5".into(),
        Lie::Year => "31536000".into(),
        Lie::Past => http_date(now.saturating_sub(SignedDuration::from_hours(1)).unwrap_or(now)),
    }
}
