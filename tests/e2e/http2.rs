//! HTTP/2 over TLS, as what stands before an API speaks it: connections and streams that end in every way.

use crate::fixture::Fixture;
use crate::fleet;
use crate::sandbox::{Sandbox, Transport};

const RUN: [&str; 6] = ["run", "fleet.csv", "--action", "allocate", "--rate", "none"];

/// A sandbox that speaks HTTP/2, and a fleet of so many VMs.
fn sandbox(args: &[&str], vms: usize) -> (Sandbox, Fixture) {
    let sandbox = Sandbox::speaking(Transport::Http2, args);
    let fixture = Fixture::at(&sandbox);
    fixture.write("fleet.csv", fleet::csv(vms));
    (sandbox, fixture)
}

#[test]
fn over_tls_a_run_speaks_http_2_and_comes_to_the_same_end() {
    let (sandbox, fixture) = sandbox(&[], 60);
    let plain = Sandbox::start(&[]);
    let in_plain = Fixture::at(&plain);
    in_plain.write("fleet.csv", fleet::csv(60));
    let (outcome, expected) = (fixture.run(&RUN).exits(0), in_plain.run(&RUN).exits(0));
    assert_eq!(outcome.verdicts(), expected.verdicts());
    assert!(sandbox.calls().iter().all(|call| call.http == "2"));
    assert!(plain.calls().iter().all(|call| call.http == "1"));
}
