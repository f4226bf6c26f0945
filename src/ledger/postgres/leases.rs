//! Leases that ran out while the database was away, so that nobody could renew them.

use super::question::Question;
use super::session::Session;

/// That a lease ran out since anybody was heard last says nothing of its worker where the database was away meanwhile: until its
/// server was started, or, where `$1`, until now, as whoever asks could not reach it. It goes on for as long as one who is there
/// may take to come back, and does so once: somebody has been heard since.
const SPARE: &str = "WITH away AS (
        SELECT max(seen_at) AS since, CASE WHEN $1 THEN clock_timestamp() ELSE pg_postmaster_start_time() END AS until
        FROM v6fleet.workers
    ), lapsed AS (
        SELECT w.no, away.until FROM v6fleet.workers w, away
        WHERE NOT w.buried AND w.left_at IS NULL AND w.lease_until <= clock_timestamp() AND away.since < away.until
            AND w.seen_at + w.lease_us * interval '1 microsecond' > away.since
        FOR UPDATE OF w SKIP LOCKED
    )
    UPDATE v6fleet.workers w SET lease_until = greatest(w.lease_until, lapsed.until + interval '5 seconds')
    FROM lapsed WHERE w.no = lapsed.no";

/// Has nobody given up, from the next question on, for a silence that was the database's; `was_away`: for us, too.
pub(super) fn spare(session: &Session, was_away: bool) {
    session.later(Question::new(SPARE, vec![Box::new(was_away)]));
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use support::postgres::Server;

    use crate::ledger::Ledger;
    use crate::ledger::contract::begin;
    use crate::ledger::postgres::{DatabaseUrl, Postgres};

    /// With leases of 30 s, in the order of their numbers: when each was heard last, and what has become of it since.
    const SILENT: &str = "DELETE FROM v6fleet.workers;
        INSERT INTO v6fleet.workers (no, run, host, pid, concurrency, lease_us, seen_at, lease_until, left_at, buried)
            SELECT no, (SELECT max(no) FROM v6fleet.runs), '', 0, 0, 30000000, heard_at, heard_at + interval '30 seconds',
                CASE WHEN has_left THEN heard_at END, buried
            FROM (VALUES (1, 40, false, false), (2, 69, false, false), (3, 71, false, false), (4, 40, true, false),
                (5, 40, false, true)) AS w (no, seconds, has_left, buried),
                LATERAL (SELECT now() - seconds * interval '1 second') AS h (heard_at)";

    /// Whose lease goes on for so long from then on.
    const SPARED: &str =
        "SELECT string_agg(no::text, ' ' ORDER BY no) FROM v6fleet.workers WHERE lease_until BETWEEN";

    #[test]
    fn a_lease_that_ran_out_while_the_database_was_away_goes_on_for_a_moment_and_no_other_one() {
        let Some(server) = Server::start() else { return };
        let url = DatabaseUrl::of(Path::new(&server.url())).unwrap().unwrap();
        let postgres = Postgres::open(&url, Duration::ZERO).unwrap();
        begin(&Ledger::of(Box::new(Postgres::open(&url, Duration::ZERO).unwrap())), &[None]);
        let spare = |was_away| {
            super::spare(&postgres.session, was_away);
            postgres.session.send().unwrap();
        };
        let since_its_start = "pg_postmaster_start_time() + interval '5 seconds'";
        let from_now = "now() AND now() + interval '5 seconds'";
        server.sql(SILENT);
        spare(false);
        let spared = server.sql(&format!("{SPARED} {since_its_start} AND {since_its_start}"));
        assert_eq!(spared, "1 2", "it was started since anybody was heard");
        server.sql(SILENT);
        spare(true);
        assert_eq!(server.sql(&format!("{SPARED} {from_now}")), "1 2");
        // One of them is heard; the other is not, whatever befalls whoever asks.
        server.sql("UPDATE v6fleet.workers SET seen_at = now(), lease_until = now()");
        server.sql("UPDATE v6fleet.workers SET seen_at = now() - interval '69 seconds' WHERE no = 2");
        spare(false);
        assert_eq!(server.sql(&format!("{SPARED} {from_now}")), "", "it was there");
        spare(true);
        assert_eq!(server.sql(&format!("{SPARED} {from_now}")), "1 3", "it was there for others");
    }
}
