//! Moments in UTC. For programs: RFC 3339, all of one width, so that sorting them as texts sorts them in time.

use jiff::Timestamp;
use serde::Serializer;

/// `2026-11-23T02:15:00.250000Z`: always to the microsecond, which is what a ledger keeps.
pub fn moment(at: Timestamp) -> String {
    format!("{at:.6}")
}

/// `2026-11-23 02:15:00Z`: as people read it.
pub fn moment_for_people(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// The moment for programs as a field, of a moment or of what may be one.
pub fn moment_field<S: Serializer>(
    at: &(impl Into<Option<Timestamp>> + Copy),
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match (*at).into() {
        Some(at) => serializer.serialize_str(&moment(at)),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_all_of_one_width() {
        for (at, expected) in [
            ("2026-11-23T02:15:00Z", "2026-11-23T02:15:00.000000Z"),
            ("2026-11-23T02:15:00.25Z", "2026-11-23T02:15:00.250000Z"),
            ("2026-11-23T03:15:00.123456789+01:00", "2026-11-23T02:15:00.123456Z"),
        ] {
            let at: Timestamp = at.parse().unwrap();
            assert_eq!(moment(at), expected);
            let mut json = Vec::new();
            moment_field(&Some(at), &mut serde_json::Serializer::new(&mut json)).unwrap();
            assert_eq!(json, format!("{expected:?}").into_bytes());
        }
    }
}
