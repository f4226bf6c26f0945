//! How much a claim reads: what it gets, however much of the run is settled and whatever was given back before.

use super::*;

const VMS: usize = 3_000;

/// What a claim of a few VMs may read at the most.
const FEW: u64 = 40;

/// Notes how many rows of a run's tables a connection has read when it begins a batch, and when it has claimed.
const WATCH: &str = "CREATE TABLE public.reads (rows bigint);
    CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO public.reads
            SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_xact_user_tables
            WHERE schemaname = 'v6fleet' AND relname IN ('items', 'progress', 'returned');
        RETURN NULL;
    END
    $$;
    CREATE TRIGGER note AFTER UPDATE ON v6fleet.workers EXECUTE FUNCTION public.note();
    CREATE TRIGGER note AFTER UPDATE ON v6fleet.sittings EXECUTE FUNCTION public.note()";

/// A run of which it is noted how much claims read; `None` where there is no PostgreSQL.
fn watched() -> Option<(Database, RunKey)> {
    is_installed().then(|| {
        let place = Database::new();
        let run = begun(&place, "a", VMS);
        place.server.sql(WATCH);
        (place, run)
    })
}

/// A worker claims so many VMs, gets these, and reads few rows for them.
#[track_caller]
fn assert_claimed(place: &Database, hand: &mut Hand, vms: u32, expected: &[&str]) {
    place.server.sql("TRUNCATE public.reads");
    let items = hand.takes(vms);
    let read = place.server.sql("SELECT max(rows) - min(rows) FROM public.reads");
    assert_eq!(self::vms(&items), expected);
    assert!(read.parse::<u64>().unwrap() <= FEW, "{read}");
}

/// All that worker `$1` holds is settled.
fn settled(place: &Database, worker: &str) {
    place.server.sql(&format!(
        "UPDATE v6fleet.progress SET claimed_at = NULL, outcome = 'created' WHERE worker = ({worker})"
    ));
}

#[test]
fn what_is_given_back_is_found_without_a_look_at_all_that_is_settled() {
    let Some((place, run)) = watched() else { return };
    let [mut one, mut two] = [(); 2].map(|()| Hand::join(&place, &run));
    one.takes(2);
    two.takes(2_900);
    settled(&place, "SELECT max(no) FROM v6fleet.workers");
    for gone in 1..=2 {
        one.write(vec![Request::GiveBack(vec![gone - 1])]);
        assert_claimed(&place, &mut two, 1, &[&gone.to_string()]);
    }
    assert_claimed(&place, &mut two, 1, &["2903"]);
}

#[test]
fn a_worker_that_goes_on_after_its_lease_had_run_out_reads_nothing_twice() {
    let Some((place, run)) = watched() else { return };
    let [mut one, mut two] = [(); 2].map(|()| Hand::join(&place, &run));
    one.takes(2_900);
    settled(&place, "SELECT max(no) - 1 FROM v6fleet.workers");
    one.takes(1);
    leases_run_out(&place);
    two.seen();
    assert_eq!(one.sees(vec![Request::Tick]), None);
    one.sees(vec![Request::Rejoin]).unwrap();
    assert_claimed(&place, &mut one, 2, &["2901", "2902"]);
}

#[test]
fn a_rack_of_which_others_have_taken_the_rest_is_looked_through_once() {
    let Some((place, run)) = watched() else { return };
    let _of_another_run = Hand::join(&place, &begun(&place, "b", 1));
    let [mut one, mut two] = [(); 2].map(|()| Hand::join(&place, &run));
    one.takes(1);
    two.takes(u32::try_from(VMS).unwrap());
    assert_eq!(vms(&one.takes(1)), [""; 0]);
    one.write(vec![Request::GiveBack(vec![0])]);
    assert_claimed(&place, &mut one, 1, &["1"]);
    assert_claimed(&place, &mut one, 1, &[]);
}

#[test]
fn who_joins_or_resumes_a_run_reads_nothing_of_what_is_settled_when_it_claims() {
    let Some((place, run)) = watched() else { return };
    let mut one = Hand::join(&place, &run);
    one.takes(2_900);
    one.write(vec![Request::GiveBack(vec![0])]);
    let mut two = Hand::join(&place, &run);
    for vm in ["1", "2901"] {
        assert_claimed(&place, &mut two, 1, &[vm]);
    }
    settled(&place, "SELECT max(no) - 1 FROM v6fleet.workers");
    settled(&place, "SELECT max(no) FROM v6fleet.workers");
    drop((one, two));
    let resumed = place.open();
    resumed.resume(&run, &job("a")).unwrap();
    resumed.start(&run).unwrap();
    let mut three = Hand { book: resumed.engine.open_book(&run).unwrap() };
    assert_claimed(&place, &mut three, 1, &["2902"]);
}
