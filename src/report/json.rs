//! The report as one JSON object, for programs: every text exactly as it came, one VM a line.

mod row;

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::Formatter;

use crate::ledger::{Row, RunInfo, Summary};
use crate::outcome::Kind;
use crate::text::{escape_beyond_c0, written_out_in_json};

pub(super) use row::JsonRow;

/// What the object's `schema` says: goes up when a reader of the old form would be misled.
pub(super) const SCHEMA: &str = "v6fleet.report/1";

/// A JSON report while it is being written.
#[derive(Debug)]
pub(super) struct JsonReport<W: Write> {
    to: W,
    kind: Kind,
    between: &'static str,
}

impl<W: Write> JsonReport<W> {
    pub(super) fn begin(mut to: W, run: &RunInfo, summary: &Summary) -> io::Result<Self> {
        write!(to, "{{\"schema\":\"{SCHEMA}\",\n\"run\":")?;
        write(&mut to, run)?;
        to.write_all(b",\n\"summary\":")?;
        write(&mut to, summary)?;
        to.write_all(b",\n\"vms\":[")?;
        Ok(Self { to, kind: run.kind, between: "\n" })
    }

    pub(super) fn row(&mut self, row: &Row) -> io::Result<()> {
        self.to.write_all(self.between.as_bytes())?;
        self.between = ",\n";
        write(&mut self.to, &JsonRow::of(self.kind, row))
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        self.to.write_all(b"\n]}\n")?;
        Ok(self.to)
    }
}

/// Writes a value on one line.
pub(super) fn write(to: impl Write, value: &impl Serialize) -> io::Result<()> {
    let mut json = serde_json::Serializer::with_formatter(to, ForTerminals);
    Ok(value.serialize(&mut json)?)
}

/// A value as text, on one line that ends in a line break.
pub(super) fn line(value: &impl Serialize) -> serde_json::Result<String> {
    let mut line = Vec::new();
    write(&mut line, value).map_err(serde_json::Error::io)?;
    line.push(b'\n');
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// Compact JSON that a terminal may show: deceptive characters are `\u` escapes, which read back exactly.
struct ForTerminals;

impl Formatter for ForTerminals {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, to: &mut W, fragment: &str) -> io::Result<()> {
        to.write_all(escape_beyond_c0(fragment, written_out_in_json).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::report::fixtures::{any_text, forecasts, plan, plan_summary, rows, run, summary, with_text};
    use crate::text::is_deceptive;

    fn written(rows: &[Row]) -> String {
        whole(&run(), &summary(rows), rows)
    }

    fn whole(run: &RunInfo, summary: &Summary, rows: &[Row]) -> String {
        let mut report = JsonReport::begin(Vec::new(), run, summary).unwrap();
        for row in rows {
            report.row(row).unwrap();
        }
        String::from_utf8(report.finish().unwrap()).unwrap()
    }

    #[test]
    fn every_outcome_and_every_failure_has_its_line() {
        insta::assert_snapshot!(written(&rows()), @r#"
        {"schema":"v6fleet.report/1",
        "run":{"id":"20261123T021500Z-7f3a","kind":"run","tool_version":"0.1.0","base_url":"https://cloud.hostup.se","api":"v1","key_fingerprint":"1a2b3c4d","action":"allocate","inventory":[{"path":"fleet.csv","sha256":"00ff"}],"inventory_vms":20,"options":{"concurrency":16,"rate":"10/s"},"started_at":"2026-11-23T02:15:00.000000Z","ended_at":"2026-11-23T02:15:06.300000Z","resumes":0},
        "summary":{"selected":20,"created":2,"unchanged":2,"updated":2,"failed":14,"not_attempted":1,"skipped":0,"drifted":1,"warned":1,"warnings":[],"racks":[{"rack_id":"dc1r28","selected":6,"created":2,"unchanged":2,"updated":2,"failed":0,"not_attempted":0},{"rack_id":"dc1r29","selected":13,"created":0,"unchanged":0,"updated":0,"failed":13,"not_attempted":0},{"rack_id":null,"selected":1,"created":0,"unchanged":0,"updated":0,"failed":1,"not_attempted":1}],"failures":[{"failure":"rejected","vms":1,"may_have_applied":0,"examples":["10010"],"error":"prefix exhausted"},{"failure":"unauthorized","vms":1,"may_have_applied":0,"examples":["10011"],"error":"invalid key"},{"failure":"forbidden","vms":1,"may_have_applied":0,"examples":["10012"],"error":"not your VM"},{"failure":"not_found","vms":1,"may_have_applied":0,"examples":["10013"],"error":"no such VM"},{"failure":"conflict","vms":1,"may_have_applied":0,"examples":["10014"],"error":"VPS not ready"},{"failure":"rate_limited","vms":1,"may_have_applied":0,"examples":["10015"],"error":"too many requests"},{"failure":"server_error","vms":1,"may_have_applied":1,"examples":["10016"],"error":"upstream\nunavailable \u001b[31m"},{"failure":"timeout","vms":1,"may_have_applied":1,"examples":["10017"],"error":"no answer within 30 s"},{"failure":"connect","vms":1,"may_have_applied":0,"examples":["10018"],"error":"connection refused"},{"failure":"tls","vms":1,"may_have_applied":0,"examples":["10019"],"error":"certificate expired"},{"failure":"redirected","vms":1,"may_have_applied":0,"examples":["10020"],"error":"redirected to https://example.net/"},{"failure":"malformed_answer","vms":1,"may_have_applied":1,"examples":["10021"],"error":"not JSON"},{"failure":"refused_by_api","vms":1,"may_have_applied":0,"examples":["10022"],"error":"success is false"},{"failure":"not_attempted","vms":1,"may_have_applied":0,"examples":["10023"],"error":null}],"calls":71,"retries":52,"throttled":3,"duration_s":6.3,"calls_in_duration":71,"calls_per_s":11.27,"pending":0,"complete":true,"running":false,"stopped_by":null,"exit_code":3},
        "vms":[
        {"vmid":"10000","name":"web-1","rack_id":"dc1r28","action":"allocate","outcome":"created","basis":"created_flag","prefix":"2001:db8::1/48","next_hop":"2001:db8::1","status":"active","previous_prefix":null,"previous_next_hop":null,"changes":[],"drift":[],"failure":null,"may_have_applied":false,"http_status":200,"error":null,"attempts":1,"first_sent_at":"2026-11-23T02:15:00.123456Z","settled_at":"2026-11-23T02:15:00.500000Z","latency_ms":376.54,"request_id":"2121ae20","warnings":[],"labels":{"owner":"net","tier":"1"}},
        {"vmid":"10001","name":"web-1","rack_id":"dc1r28","action":"allocate","outcome":"created","basis":"lost_answer","prefix":"2001:db8::1/48","next_hop":"2001:db8::1","status":"active","previous_prefix":null,"previous_next_hop":null,"changes":[],"drift":[],"failure":null,"may_have_applied":false,"http_status":200,"error":null,"attempts":1,"first_sent_at":"2026-11-23T02:15:00.123456Z","settled_at":"2026-11-23T02:15:00.500000Z","latency_ms":376.54,"request_id":"2121ae20","warnings":[],"labels":{"owner":"net","tier":"1"}},
        {"vmid":"10002","name":"web-1","rack_id":"dc1r28","action":"allocate","outcome":"unchanged","basis":"ledger","prefix":"2001:db8::1/48","next_hop":"2001:db8::1","status":"active","previous_prefix":null,"previous_next_hop":null,"changes":[],"drift":[],"failure":null,"may_have_applied":false,"http_status":200,"error":null,"attempts":1,"first_sent_at":"2026-11-23T02:15:00.123456Z","settled_at":"2026-11-23T02:15:00.500000Z","latency_ms":376.54,"request_id":"2121ae20","warnings":[],"labels":{"owner":"net","tier":"1"}},
        {"vmid":"10003","name":"web-1","rack_id":"dc1r28","action":"allocate","outcome":"updated","basis":"ledger","prefix":"2001:db8:9::1/48","next_hop":"2001:db8::2","status":"active","previous_prefix":"2001:db8::1/48","previous_next_hop":"2001:db8::1","changes":[{"field":"prefix","before":"2001:db8::1/48","after":"2001:db8:9::1/48"},{"field":"next_hop","before":"2001:db8::1","after":"2001:db8::2"}],"drift":[{"field":"rack_id","expected":"dc1r29","actual":"dc1r28"},{"field":"client_id","expected":"1","actual":"30000"}],"failure":null,"may_have_applied":false,"http_status":200,"error":null,"attempts":1,"first_sent_at":"2026-11-23T02:15:00.123456Z","settled_at":"2026-11-23T02:15:00.500000Z","latency_ms":376.54,"request_id":"2121ae20","warnings":["status is odd, not active","says \"so\""],"labels":{"tier":"=cmd|' /C calc'!A0"}},
        {"vmid":"10004","name":"web-1","rack_id":"dc1r28","action":"allocate","outcome":"updated","basis":"server_clock","prefix":"2001:db8::1/48","next_hop":"2001:db8::1","status":"active","previous_prefix":null,"previous_next_hop":null,"changes":[],"drift":[],"failure":null,"may_have_applied":false,"http_status":200,"error":null,"attempts":1,"first_sent_at":"2026-11-23T02:15:00.123456Z","settled_at":"2026-11-23T02:15:00.500000Z","latency_ms":376.54,"request_id":"2121ae20","warnings":[],"labels":{"owner":"net","tier":"1"}},
        {"vmid":"10005","name":"web-1","rack_id":"dc1r28","action":"allocate","outcome":"unchanged","basis":"none","prefix":"2001:db8::1/48","next_hop":"2001:db8::1","status":"active","previous_prefix":null,"previous_next_hop":null,"changes":[],"drift":[],"failure":null,"may_have_applied":false,"http_status":200,"error":null,"attempts":1,"first_sent_at":"2026-11-23T02:15:00.123456Z","settled_at":"2026-11-23T02:15:00.500000Z","latency_ms":376.54,"request_id":"2121ae20","warnings":[],"labels":{"owner":"net","tier":"1"}},
        {"vmid":"10010","name":null,"rack_id":"dc1r29","action":"allocate","outcome":"failed","basis":null,"prefix":null,"next_hop":null,"status":null,"previous_prefix":null,"previous_next_hop":null,"changes":[],"drift":[],"failure":"rejected","may_have_applied":false,"http_status":422,"error":"prefix exhausted","attempts":5,"first_sent_at":"2026-11-23T02:15:01.000000Z","settled_at":"2026-11-23T02:15:06.000000Z","latency_ms":null,"request_id":null,"warnings":[],"labels":{}},
        {"vmid":"10011","name":null,"rack_id":"dc1r29","action":"allocate","outcome":"failed","basis":null,"prefix":null,"next_hop":null,"status":null,"previous_prefix":null,"previous_next_hop":null,"changes":[],"drift":[],"failure":"unauthorized","may_have_applied":false,"http_status":401,"error":"invalid key","attempts":5,"first_sent_at":"2026-11-23T02:15:01.000000Z","settled_at":"2026-11-23T02:15:06.000000Z","latency_ms":null,"request_id":null,"warnings":[],"labels":{}},
        {"vmid":"10012","name":null,"rack_id":"dc1r29","action":"allocate","outcome":"failed","basis":null,"prefix":null,"next_hop":null,"status":null,"previous_prefix":null,"previous_next_hop":null,"changes":[],"drift":[],"failure":"forbidden","may_have_applied":false,"http_status":403,"error":"not your VM","attempts":5,"first_sent_at":"2026-11-23T02:15:01.000000Z","settled_at":"2026-11-23T02:15:06.000000Z","latency_ms":null,"request_id":null,"warnings":[],"labels":{}},
        {"vmid":"10013","name":null,"rack_id":"dc1r29","action":"allocate","outcome":"failed","basis":null,"prefix":null,"next_hop":null,"status":null,"previous_prefix":null,"previous_next_hop":null,"changes":[],"drift":[],"failure":"not_found","may_have_applied":false,"http_status":404,"error":"no such VM","attempts":5,"first_sent_at":"2026-11-23T02:15:01.000000Z","settled_at":"2026-11-23T02:15:06.000000Z","latency_ms":null,"request_id":null,"warnings":[],"labels":{}},
        {"vmid":"10014","name":null,"rack_id":"dc1r29","action":"allocate","outcome":"failed","basis":null,"prefix":null,"next_hop":null,"status":null,"previous_prefix":null,"previous_next_hop":null,"changes":[],"drift":[],"failure":"conflict","may_have_applied":false,"http_status":409,"error":"VPS not ready","attempts":5,"first_sent_at":"2026-11-23T02:15:01.000000Z","settled_at":"2026-11-23T02:15:06.000000Z","latency_ms":null,"request_id":null,"warnings":[],"labels":{}},
        {"vmid":"10015","name":null,"rack_id":"dc1r29","action":"allocate","outcome":"failed","basis":null,"prefix":null,"next_hop":null,"status":null,"previous_prefix":null,"previous_next_hop":null,"changes":[],"drift":[],"failure":"rate_limited","may_have_applied":false,"http_status":429,"error":"too many requests","attempts":5,"first_sent_at":"2026-11-23T02:15:01.000000Z","settled_at":"2026-11-23T02:15:06.000000Z","latency_ms":null,"request_id":null,"warnings":[],"labels":{}},
        {"vmid":"10016","name":null,"rack_id":"dc1r29","action":"allocate","outcome":"failed","basis":null,"prefix":null,"next_hop":null,"status":null,"previous_prefix":null,"previous_next_hop":null,"changes":[],"drift":[],"failure":"server_error","may_have_applied":true,"http_status":503,"error":"upstream\nunavailable \u001b[31m","attempts":5,"first_sent_at":"2026-11-23T02:15:01.000000Z","settled_at":"2026-11-23T02:15:06.000000Z","latency_ms":null,"request_id":null,"warnings":[],"labels":{}},
        {"vmid":"10017","name":null,"rack_id":"dc1r29","action":"allocate","outcome":"failed","basis":null,"prefix":null,"next_hop":null,"status":null,"previous_prefix":null,"previous_next_hop":null,"changes":[],"drift":[],"failure":"timeout","may_have_applied":true,"http_status":null,"error":"no answer within 30 s","attempts":5,"first_sent_at":"2026-11-23T02:15:01.000000Z","settled_at":"2026-11-23T02:15:06.000000Z","latency_ms":null,"request_id":null,"warnings":[],"labels":{}},
        {"vmid":"10018","name":null,"rack_id":"dc1r29","action":"allocate","outcome":"failed","basis":null,"prefix":null,"next_hop":null,"status":null,"previous_prefix":null,"previous_next_hop":null,"changes":[],"drift":[],"failure":"connect","may_have_applied":false,"http_status":null,"error":"connection refused","attempts":5,"first_sent_at":"2026-11-23T02:15:01.000000Z","settled_at":"2026-11-23T02:15:06.000000Z","latency_ms":null,"request_id":null,"warnings":[],"labels":{}},
        {"vmid":"10019","name":null,"rack_id":"dc1r29","action":"allocate","outcome":"failed","basis":null,"prefix":null,"next_hop":null,"status":null,"previous_prefix":null,"previous_next_hop":null,"changes":[],"drift":[],"failure":"tls","may_have_applied":false,"http_status":null,"error":"certificate expired","attempts":5,"first_sent_at":"2026-11-23T02:15:01.000000Z","settled_at":"2026-11-23T02:15:06.000000Z","latency_ms":null,"request_id":null,"warnings":[],"labels":{}},
        {"vmid":"10020","name":null,"rack_id":"dc1r29","action":"allocate","outcome":"failed","basis":null,"prefix":null,"next_hop":null,"status":null,"previous_prefix":null,"previous_next_hop":null,"changes":[],"drift":[],"failure":"redirected","may_have_applied":false,"http_status":302,"error":"redirected to https://example.net/","attempts":5,"first_sent_at":"2026-11-23T02:15:01.000000Z","settled_at":"2026-11-23T02:15:06.000000Z","latency_ms":null,"request_id":null,"warnings":[],"labels":{}},
        {"vmid":"10021","name":null,"rack_id":"dc1r29","action":"allocate","outcome":"failed","basis":null,"prefix":null,"next_hop":null,"status":null,"previous_prefix":null,"previous_next_hop":null,"changes":[],"drift":[],"failure":"malformed_answer","may_have_applied":true,"http_status":200,"error":"not JSON","attempts":5,"first_sent_at":"2026-11-23T02:15:01.000000Z","settled_at":"2026-11-23T02:15:06.000000Z","latency_ms":null,"request_id":null,"warnings":[],"labels":{}},
        {"vmid":"10022","name":null,"rack_id":"dc1r29","action":"allocate","outcome":"failed","basis":null,"prefix":null,"next_hop":null,"status":null,"previous_prefix":null,"previous_next_hop":null,"changes":[],"drift":[],"failure":"refused_by_api","may_have_applied":false,"http_status":200,"error":"success is false","attempts":5,"first_sent_at":"2026-11-23T02:15:01.000000Z","settled_at":"2026-11-23T02:15:06.000000Z","latency_ms":null,"request_id":null,"warnings":[],"labels":{}},
        {"vmid":"10023","name":null,"rack_id":null,"action":"allocate","outcome":"failed","basis":null,"prefix":null,"next_hop":null,"status":null,"previous_prefix":null,"previous_next_hop":null,"changes":[],"drift":[],"failure":"not_attempted","may_have_applied":false,"http_status":null,"error":null,"attempts":0,"first_sent_at":null,"settled_at":null,"latency_ms":null,"request_id":null,"warnings":[],"labels":{}}
        ]}
        "#);
    }

    #[test]
    fn a_run_without_rows_is_whole_json() {
        let read: Value = serde_json::from_str(&written(&[])).unwrap();
        assert_eq!((&read["schema"], &read["vms"]), (&SCHEMA.into(), &Value::Array(vec![])));
    }

    #[test]
    fn a_plan_has_what_each_call_would_do_and_what_is_in_its_way() {
        insta::assert_snapshot!(whole(&plan(), &plan_summary(), &forecasts()));
    }

    proptest! {
        #[test]
        fn any_text_reads_back_exactly_and_a_terminal_may_show_it(text in any_text()) {
            let row = with_text(&text);
            let json = written(std::slice::from_ref(&row));
            prop_assert!(!json.contains(|c| c != '\n' && is_deceptive(c)), "{:?}", json);
            let read: Value = serde_json::from_str(&json).unwrap();
            let vm = &read["vms"][0];
            for field in [
                "vmid", "name", "rack_id", "prefix", "next_hop", "status", "previous_prefix",
                "previous_next_hop", "error", "request_id",
            ] {
                prop_assert_eq!(vm[field].as_str(), Some(text.as_str()), "{}", field);
            }
            prop_assert_eq!(&vm["changes"][0]["before"], &text);
            prop_assert_eq!(&vm["changes"][0]["after"], &text);
            prop_assert_eq!(&vm["drift"][0]["expected"], &text);
            prop_assert_eq!(&vm["drift"][0]["actual"], &text);
            prop_assert_eq!(&vm["warnings"][0], &text);
            prop_assert_eq!(&vm["labels"]["any"], &text);
        }
    }
}
