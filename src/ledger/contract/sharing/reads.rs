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

/// The VMs that a worker claims, and how many rows it reads for them.
fn claimed(place: &Database, hand: &mut Hand, vms: u32) -> (Vec<String>, u64) {
    place.server.sql("TRUNCATE public.reads");
    let items = hand.takes(vms);
    let read = place.server.sql("SELECT max(rows) - min(rows) FROM public.reads");
    (self::vms(&items).into_iter().map(str::to_owned).collect(), read.parse().unwrap())
}

/// All that worker `$1` holds is settled.
fn settled(place: &Database, worker: &str) {
    place.server.sql(&format!(
        "UPDATE v6fleet.progress SET claimed_at = NULL, outcome = 'created' WHERE worker = ({worker})"
    ));
}

#[test]
fn what_is_given_back_is_found_without_a_look_at_all_that_is_settled() {
    if !is_installed() {
        return;
    }
    let place = Database::new();
    let run = begun(&place, "a", VMS);
    let [mut one, mut two] = [(); 2].map(|()| Hand::join(&place, &run));
    place.server.sql(WATCH);
    one.takes(2);
    two.takes(2_900);
    settled(&place, "SELECT max(no) FROM v6fleet.workers");
    for gone in 1..=2 {
        one.write(vec![Request::GiveBack(vec![gone - 1])]);
        let (vms, read) = claimed(&place, &mut two, 1);
        assert_eq!(vms, [gone.to_string()]);
        assert!(read <= FEW, "{read}");
    }
    let (vms, read) = claimed(&place, &mut two, 1);
    assert_eq!(vms, ["2903"]);
    assert!(read <= FEW, "{read}");
}

#[test]
fn a_worker_that_goes_on_after_its_lease_had_run_out_reads_nothing_twice() {
    if !is_installed() {
        return;
    }
    let place = Database::new();
    let run = begun(&place, "a", VMS);
    let [mut one, mut two] = [(); 2].map(|()| Hand::join(&place, &run));
    place.server.sql(WATCH);
    one.takes(2_900);
    settled(&place, "SELECT max(no) - 1 FROM v6fleet.workers");
    one.takes(1);
    leases_run_out(&place);
    two.seen();
    assert_eq!(one.sees(vec![Request::Tick]), None);
    one.sees(vec![Request::Rejoin]).unwrap();
    let (vms, read) = claimed(&place, &mut one, 2);
    assert_eq!(vms, ["2901", "2902"]);
    assert!(read <= FEW, "{read}");
}

#[test]
fn a_rack_of_which_others_have_taken_the_rest_is_looked_through_once() {
    if !is_installed() {
        return;
    }
    let place = Database::new();
    let run = begun(&place, "a", VMS);
    let _of_another_run = Hand::join(&place, &begun(&place, "b", 1));
    let [mut one, mut two] = [(); 2].map(|()| Hand::join(&place, &run));
    place.server.sql(WATCH);
    one.takes(1);
    two.takes(u32::try_from(VMS).unwrap());
    assert_eq!(claimed(&place, &mut one, 1).0, [""; 0]);
    one.write(vec![Request::GiveBack(vec![0])]);
    for vms in [vec!["1"], vec![]] {
        let (found, read) = claimed(&place, &mut one, 1);
        assert_eq!(found, vms);
        assert!(read <= FEW, "{read}");
    }
}

#[test]
fn who_joins_or_resumes_a_run_reads_nothing_of_what_is_settled_when_it_claims() {
    if !is_installed() {
        return;
    }
    let place = Database::new();
    let run = begun(&place, "a", VMS);
    let mut one = Hand::join(&place, &run);
    place.server.sql(WATCH);
    one.takes(2_900);
    one.write(vec![Request::GiveBack(vec![0])]);
    let mut two = Hand::join(&place, &run);
    for vm in ["1", "2901"] {
        let (vms, read) = claimed(&place, &mut two, 1);
        assert_eq!(vms, [vm]);
        assert!(read <= FEW, "{read}");
    }
    settled(&place, "SELECT max(no) - 1 FROM v6fleet.workers");
    settled(&place, "SELECT max(no) FROM v6fleet.workers");
    drop((one, two));
    let resumed = place.open();
    resumed.resume(&run, &job("a")).unwrap();
    resumed.start(&run).unwrap();
    let mut three = Hand { book: resumed.engine.open_book(&run).unwrap() };
    let (vms, read) = claimed(&place, &mut three, 1);
    assert_eq!(vms, ["2902"]);
    assert!(read <= FEW, "{read}");
}
