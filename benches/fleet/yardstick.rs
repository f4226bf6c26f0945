//! What we are measured against: tools that do less, and do it as fast as this machine lets them.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::fleet::FIRST;
use crate::process;

/// What every call sends.
pub(crate) const BODY: &str = r#"{"action":"allocate"}"#;

/// Calls in flight, ours and theirs.
pub(crate) const CONCURRENCY: u32 = 64;

/// How wrk makes a POST.
const WRK_SCRIPT: &str = r#"wrk.method = "POST"
wrk.body = '{"action":"allocate"}'
wrk.headers["content-type"] = "application/json"
wrk.headers["x-api-key"] = "bench"
"#;

/// Picks from each answer what the report's row would have of it.
const JQ_PROGRAM: &str = ".data | [.allocation.proxmox_vm_id, .created, .allocation.rack_id, .allocation.prefix, \
                          .allocation.next_hop, .allocation.status] | @csv";

/// Whether a tool is installed.
pub(crate) fn has(tool: &str) -> bool {
    let found = Command::new("sh").args(["-c", "command -v \"$0\"", tool]).stdout(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
}

pub(crate) fn url(server: SocketAddr, vmid: usize) -> String {
    format!("http://{server}/api/vm/{vmid}/routed-ipv6")
}

/// Calls a second by `wrk`.
pub(crate) fn wrk(server: SocketAddr, dir: &Path) -> f64 {
    let script = dir.join("post.lua");
    fs::write(&script, WRK_SCRIPT).unwrap();
    let mut wrk = Command::new("wrk");
    wrk.args(["-t1", "-d2s", &format!("-c{CONCURRENCY}"), "-s"]).arg(script).arg(url(server, FIRST));
    let (_, printed) = process::output(&mut wrk);
    number_after(&printed, "Requests/sec:")
}

/// Calls a second by `h2load`, over HTTP/1.1.
pub(crate) fn h2load(server: SocketAddr, dir: &Path, calls: usize) -> f64 {
    let body = dir.join("body.json");
    fs::write(&body, BODY).unwrap();
    let mut h2load = Command::new("h2load");
    h2load.args(["--h1", "-t1", "-m1", &format!("-c{CONCURRENCY}"), &format!("-n{calls}"), "-d"]);
    h2load.arg(body).args(["-H", "content-type: application/json", "-H", "x-api-key: bench"]);
    let (_, printed) = process::output(h2load.arg(url(server, FIRST)));
    let rate = printed.split(", ").find_map(|part| part.strip_suffix(" req/s"));
    rate.unwrap_or_else(|| panic!("h2load printed {printed}")).parse().unwrap()
}

fn number_after(text: &str, name: &str) -> f64 {
    let rest = text.split_once(name).unwrap_or_else(|| panic!("no {name} in {text}")).1;
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

/// Calls a second by `curl --parallel` into `jq`: what an operator would write.
pub(crate) fn curl_into_jq(server: SocketAddr, dir: &Path, calls: usize) -> f64 {
    let config = dir.join("curl.config");
    let mut urls = std::io::BufWriter::new(fs::File::create(&config).unwrap());
    for vmid in (FIRST..).take(calls) {
        writeln!(urls, "url = \"{}\"", url(server, vmid)).unwrap();
    }
    urls.into_inner().unwrap();
    let mut curl = curl_of_one();
    curl.args(["--no-progress-meter", "--parallel", "--parallel-max", &CONCURRENCY.to_string(), "--config"])
        .arg(config);
    let mut jq = Command::new("jq");
    let rows = dir.join("curl.csv");
    let wall = process::piped(&mut curl, jq.args(["-r", JQ_PROGRAM]), fs::File::create(&rows).unwrap());
    let written = fs::read_to_string(rows).unwrap().lines().count();
    assert_eq!(written, calls, "rows of curl and jq");
    calls as f64 / wall.as_secs_f64()
}

fn curl_of_one() -> Command {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "-X", "POST", "--data", BODY]);
    curl.args(["-H", "content-type: application/json", "-H", "x-api-key: bench"]);
    curl
}

/// One call by `curl`.
pub(crate) fn curl(server: SocketAddr) -> Command {
    let mut curl = curl_of_one();
    curl.arg(url(server, FIRST));
    curl
}

/// The `sqlite3` shell reading a CSV file into memory.
pub(crate) fn sqlite_import(csv: &Path) -> Command {
    let mut sqlite = Command::new("sqlite3");
    sqlite.args([":memory:".to_owned(), format!(".import --csv {} fleet", csv.display())]);
    sqlite
}

/// Puts a CSV report into a database of its own.
pub(crate) fn sqlite_database(report: &Path, dir: &Path) -> PathBuf {
    let database = dir.join("report.db");
    drop(fs::remove_file(&database));
    let import = format!(".import --csv {} report", report.display());
    process::output(Command::new("sqlite3").arg(&database).arg(import));
    database
}

/// The `sqlite3` shell writing that report again.
pub(crate) fn sqlite_dump(database: &Path) -> Command {
    let mut sqlite = Command::new("sqlite3");
    sqlite.args(["-readonly", "-csv", "-header"]).arg(database).arg("SELECT * FROM report");
    sqlite
}

/// How long a synced write takes here, the median of many.
pub(crate) fn fsync(dir: &Path) -> Duration {
    let mut file = fs::File::create(dir.join("fsync")).unwrap();
    let mut times: Vec<Duration> = (0..50)
        .map(|_| {
            let begun = Instant::now();
            file.write_all(&[0; 4096]).unwrap();
            file.sync_data().unwrap();
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

/// Where [`fsync`] costs nothing, if there is such a place.
pub(crate) fn memory_disk() -> Option<PathBuf> {
    let dir = PathBuf::from("/dev/shm");
    dir.is_dir().then_some(dir)
}
