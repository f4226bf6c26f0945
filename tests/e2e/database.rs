//! The database that a test makes for itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use crate::postgres::Server;

fn is_running(process: u32) -> bool {
    PathBuf::from(format!("/proc/{process}")).exists()
}

#[test]
fn a_server_is_gone_with_its_test_however_that_ends() {
    let Some(server) = Server::start() else { return };
    assert_eq!(server.sql("SELECT current_user, inet_server_addr() IS NULL"), "fleet|t");
    let id = server.id();
    assert!(is_running(id));
    let failed = catch_unwind(AssertUnwindSafe(|| {
        let _held = server;
        panic!("as a test fails");
    }));
    assert!(failed.is_err() && !is_running(id));
}

#[test]
fn what_was_committed_is_there_after_a_crash() {
    let Some(mut server) = Server::durable() else { return };
    server.sql("CREATE TABLE kept (n integer)");
    server.sql("INSERT INTO kept VALUES (7)");
    server.crash();
    server.start_again();
    assert_eq!(server.sql("SELECT n FROM kept"), "7");
}
