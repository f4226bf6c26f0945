//! `v6fleet`: see the library's documentation.

use std::process::ExitCode;

/// Small texts come and go by the million, between two threads: the system's own allocator costs a tenth more CPU time.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    v6fleet::command::main(std::env::args_os())
}
