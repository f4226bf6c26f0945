//! The body of a call, as far as both dialects write it alike.

use axum::body::Bytes;
use axum::http::Request;
use axum::http::header::CONTENT_TYPE;
use serde_json::{Map, Value};

use super::problem::{self, Problem};
use crate::vm::Action;

/// A body may have so many bytes; a server hands over one more to show that there are more.
pub(super) const BODY_LIMIT: usize = 4096;

/// The object that it is.
pub(super) fn fields(request: &Request<Bytes>) -> Result<Map<String, Value>, Problem> {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).map(str::trim);
    if !essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
        return Err(problem::MEDIA_TYPE);
    }
    if request.body().len() > BODY_LIMIT {
        return Err(problem::TOO_LARGE);
    }
    serde_json::from_slice(request.body()).map_err(|_| problem::NOT_JSON)
}

pub(super) fn action(value: &Value) -> Result<Action, Problem> {
    value.as_str().and_then(|action| action.parse().ok()).ok_or(problem::ACTION)
}
