//! A page of v2's list: `GET /api/v2/vps`.
//!
//! What names the VMs and leads to the next page decides. The rest is taken as it stands, however long, where it is what it
//! should be, else it is unknown, and a warning.

use crate::api::attempt::{Attempt, Fault};
use crate::api::body::spaced;
use crate::api::clip::clip;
use crate::api::fault::{self, Head};
use crate::api::fields::{decisive, not, optional};
use crate::api::object::{Object, Raw};
use crate::api::page::Page;
use crate::dialect::Dialect;
use crate::vm::{Listed, VmId};

/// How the first page is asked for: as many VMs as there may be on one, with all that is told of them.
pub(in crate::api) const QUERY: [(&str, &str); 2] = [("limit", "100"), ("include", "pendingMaintenance")];

/// How a page is asked for on which there is one VM at most.
pub(in crate::api) const ONE: [(&str, &str); 1] = [("limit", "1")];

/// The parameter that asks for a further page.
pub(in crate::api) const CURSOR: &str = "cursor";

/// The longest cursor that is sent back, in bytes: with a longer one servers refuse the whole request.
const LONGEST_CURSOR: usize = 4096;

/// Reads a 2xx into `attempt`.
pub(in crate::api) fn read(head: &Head, text: &str, attempt: &mut Attempt<Page>) {
    let json = spaced(text);
    let list = Object::read(&json).ok_or_else(|| "no JSON object".to_owned());
    match list.and_then(|list| Ok((decisive(&list, "data")?, list))) {
        Ok((data, list)) => {
            attempt.result =
                page(&list, data).map_err(|reason| Fault::malformed(fault::undocumented(&reason)));
        }
        Err(reason) => fault::misread(head, text, &reason, attempt),
    }
}

fn page(list: &Object<'_>, data: Raw<'_>) -> Result<Page, String> {
    let next = next(list)?;
    let items = data.list().ok_or_else(|| not("data", data, "a list"))?;
    let mut warnings = Vec::new();
    let vms =
        (1..).zip(items).map(|(place, item)| vm(place, item, &mut warnings)).collect::<Result<_, _>>()?;
    Ok(Page { vms, next, warnings })
}

/// An empty cursor leads nowhere.
fn next(list: &Object<'_>) -> Result<Option<String>, String> {
    let Some(value) = optional(list, "nextCursor")? else { return Ok(None) };
    let cursor = value.string().ok_or_else(|| not("nextCursor", value, "a text"))?;
    match cursor.len() {
        0 => Ok(None),
        1..=LONGEST_CURSOR => Ok(Some(cursor.into_owned())),
        _ => Err(format!("nextCursor is longer than {LONGEST_CURSOR} bytes")),
    }
}

/// The VM at this place of the page, or what is wrong with it.
fn vm(place: usize, item: Raw<'_>, warnings: &mut Vec<String>) -> Result<Listed, String> {
    let of_item = |reason: String| format!("VM {place} of the page: {reason}");
    let item = item.object().ok_or_else(|| of_item(not("it", item, "an object")))?;
    let id = id(&item).map_err(|reason| of_item(format!("{}{reason}", named(&item))))?;
    let mut fields = Fields { item: &item, id: &id, warnings };
    Ok(Listed {
        name: fields.text("name"),
        primary_ip: fields.text("primaryIp"),
        service_status: fields.text("serviceStatus"),
        power_state: fields.text("powerState"),
        os: fields.text("operatingSystem"),
        is_payg: fields.is_payg(),
        tags: fields.read("tags", "a list of texts", texts),
        pending_maintenance: fields.boolean("pendingMaintenance"),
        pending_maintenance_has_deadline: fields.boolean("pendingMaintenanceHasDeadline"),
        id,
    })
}

/// Without it nobody could be called for, and with a wrong one somebody else would be.
fn id(item: &Object<'_>) -> Result<VmId, String> {
    let value = decisive(item, "id")?;
    let text = value.string().unwrap_or(value.as_str().into());
    Dialect::V2.vm_id(&text).map_err(|error| format!("id {:?} is {error}", clip(&text)))
}

/// What a VM without a usable id is told by.
fn named(item: &Object<'_>) -> String {
    let name = item.get("name").and_then(Raw::string);
    name.map_or_else(String::new, |name| format!("{:?}: ", name.chars().take(60).collect::<String>()))
}

fn texts(value: Raw<'_>) -> Option<Vec<String>> {
    value.list()?.into_iter().map(|text| Some(text.string()?.into_owned())).collect()
}

/// What is told of a VM beside its id.
struct Fields<'f, 'a> {
    item: &'f Object<'a>,
    id: &'f VmId,
    warnings: &'f mut Vec<String>,
}

impl<'a> Fields<'_, 'a> {
    /// An empty text says nothing.
    fn text(&mut self, name: &str) -> Option<String> {
        let text = self.read(name, "a text", |value| value.string().map(Into::into));
        text.filter(|text: &String| !text.is_empty())
    }

    fn boolean(&mut self, name: &str) -> Option<bool> {
        self.read(name, "true or false", Raw::boolean)
    }

    fn is_payg(&mut self) -> Option<bool> {
        let billing = self.read("billing", "an object", Raw::object)?;
        Fields { item: &billing, id: self.id, warnings: self.warnings }.boolean("isPayg")
    }

    fn read<T>(&mut self, name: &str, expected: &str, read: impl FnOnce(Raw<'a>) -> Option<T>) -> Option<T> {
        let value = self.item.get(name).filter(|value| !value.is_null())?;
        let read = read(value);
        if read.is_none() {
            self.warnings.push(format!("VM {}: {}", self.id, not(name, value, expected)));
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::Meaning;
    use crate::api::dialect;
    use crate::outcome::Failure;

    const ID: &str = "vps_01hxa3b4c5d6e7f8g9h0j1k2m3";

    fn documented() -> Value {
        json!({"data": [{
            "id": ID, "name": "web-1", "primaryIp": "192.0.2.1", "serviceStatus": "active", "powerState": "running",
            "operatingSystem": "Debian 12", "billing": {"isPayg": true, "cycle": "monthly"}, "tags": ["prod", "web"],
            "pendingMaintenance": true, "pendingMaintenanceHasDeadline": false, "more": {"id": 1},
        }], "nextCursor": "b3BhcXVl"})
    }

    fn read(status: u16, text: &str) -> Result<Page, Fault> {
        let mut attempt = Attempt::unanswered(Timestamp::UNIX_EPOCH);
        let head = Head { status, ..Head::default() };
        dialect::read_page(Dialect::V2, &head, text, &mut attempt);
        attempt.result
    }

    fn with(edit: impl FnOnce(&mut Value)) -> Result<Page, Fault> {
        let mut body = documented();
        edit(&mut body);
        read(200, &body.to_string())
    }

    fn nothing_known() -> Listed {
        Listed::unknown(ID.into())
    }

    #[test]
    fn the_documented_page_is_read_whole() {
        let text = |text: &str| Some(text.to_owned());
        let vm = Listed {
            id: ID.into(),
            name: text("web-1"),
            primary_ip: text("192.0.2.1"),
            service_status: text("active"),
            power_state: text("running"),
            os: text("Debian 12"),
            is_payg: Some(true),
            tags: Some(vec!["prod".into(), "web".into()]),
            pending_maintenance: Some(true),
            pending_maintenance_has_deadline: Some(false),
        };
        let page = Page { vms: vec![vm], next: text("b3BhcXVl"), warnings: vec![] };
        assert_eq!(with(|_| ()), Ok(page));
        let empty = Page { vms: vec![], next: None, warnings: vec![] };
        for text in
            [r#"{"data":[]}"#, r#"{"data":[],"nextCursor":null}"#, r#"{"nextCursor":"","data":[],"x":[{}]}"#]
        {
            assert_eq!(read(200, text), Ok(empty.clone()), "{text}");
        }
    }

    #[test]
    fn what_is_null_missing_or_empty_is_unknown_without_a_word() {
        let fields: Vec<String> = documented()["data"][0].as_object().unwrap().keys().cloned().collect();
        let null = |body: &mut Value| {
            for field in fields.iter().filter(|field| *field != "id") {
                body["data"][0][field] = Value::Null;
            }
        };
        let gone = |body: &mut Value| body["data"][0] = json!({"id": ID});
        let empty = |body: &mut Value| body["data"][0] = json!({"id": ID, "name": "", "billing": {}});
        for page in [with(null), with(gone), with(empty)] {
            let page = page.unwrap();
            assert_eq!((page.vms, page.warnings), (vec![nothing_known()], vec![]));
        }
        let no_tags = with(|body| body["data"][0] = json!({"id": ID, "tags": []})).unwrap();
        assert_eq!(no_tags.vms[0].tags, Some(vec![]), "none is known");
    }

    #[test]
    fn what_is_of_another_kind_is_unknown_with_a_warning_and_unknown_words_are_words() {
        for (field, value, odd) in [
            ("name", json!(7), "name is 7, not a text"),
            ("primaryIp", json!(["192.0.2.1"]), r#"primaryIp is ["192.0.2.1"], not a text"#),
            ("billing", json!("payg"), r#"billing is "payg", not an object"#),
            ("billing", json!({"isPayg": "yes"}), r#"isPayg is "yes", not true or false"#),
            ("tags", json!("prod"), r#"tags is "prod", not a list of texts"#),
            ("tags", json!([{"name": "prod"}]), r#"tags is [{"name":"prod"}], not a list of texts"#),
            ("pendingMaintenance", json!({"at": 1}), r#"pendingMaintenance is {"at":1}, not true or false"#),
        ] {
            let page = with(|body| body["data"][0][field] = value).unwrap();
            assert_eq!(page.warnings, [format!("VM {ID}: {odd}")]);
        }
        let page = with(|body| {
            body["data"][0]["serviceStatus"] = "hibernating\u{1b}[2J".into();
            body["data"][0]["powerState"] = "å".repeat(10_000).into();
        });
        let page = page.unwrap();
        assert_eq!(page.vms[0].service_status.as_deref(), Some("hibernating\u{1b}[2J"));
        assert_eq!(
            (page.vms[0].power_state.as_ref().unwrap().len(), page.warnings),
            (20_000, vec![]),
            "never cut"
        );
    }

    #[test]
    fn without_every_vms_id_and_a_way_on_there_is_no_page() {
        let long = "c".repeat(LONGEST_CURSOR + 1);
        for (path, value, reason) in [
            ("/data", json!(null), "data is null, not a list"),
            ("/data", json!({}), "data is {}, not a list"),
            ("/nextCursor", json!(7), "nextCursor is 7, not a text"),
            ("/nextCursor", json!(long), "nextCursor is longer than 4096 bytes"),
            ("/data/0", json!(null), "VM 1 of the page: it is null, not an object"),
            ("/data/0", json!({}), "VM 1 of the page: id is missing"),
            (
                "/data/0/id",
                json!(null),
                r#"VM 1 of the page: "web-1": id "null" is not a HostUp VM id (vps_"#,
            ),
            (
                "/data/0/id",
                json!(10_000),
                r#"VM 1 of the page: "web-1": id "10000" is not a HostUp VM id (vps_"#,
            ),
            ("/data/0/id", json!("vps_../x"), r#"VM 1 of the page: "web-1": id "vps_../x" is not"#),
            ("/data/0/id", json!("vps_\u{1b}[2J"), r#"VM 1 of the page: "web-1": id "vps_\u{1b}[2J" is not"#),
        ] {
            let fault = with(|body| *body.pointer_mut(path).unwrap() = value).unwrap_err();
            assert_eq!(
                (fault.failure, fault.meaning),
                (Failure::MalformedAnswer, Meaning::Transient),
                "{path}"
            );
            assert!(
                fault.message.starts_with(&format!("not the documented answer: {reason}")),
                "{}",
                fault.message
            );
        }
        let v1 = with(|body| body["data"][0]["id"] = "10000".into()).unwrap_err();
        assert!(v1.message.contains("--api v1"), "{}", v1.message);
        for text in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"data":[],"data":[]}"#,
            r#"{"data":[],"nextCursor":"a","nextCursor":"b"}"#,
        ] {
            assert_eq!(read(200, text).unwrap_err().failure, Failure::MalformedAnswer, "{text}");
        }
        let twice = read(200, &format!(r#"{{"data":[{{"id":"{ID}","id":"{ID}"}}]}}"#)).unwrap_err();
        assert!(twice.message.contains("id is there twice"), "{}", twice.message);
    }

    #[test]
    fn an_error_is_read_as_any_others() {
        for (status, body, failure) in [
            (401, r#"{"code":"unauthorized"}"#, Failure::Unauthorized),
            (429, "{}", Failure::RateLimited),
            (503, "<html>", Failure::ServerError),
        ] {
            assert_eq!(read(status, body).unwrap_err().failure, failure);
        }
        let mut attempt = Attempt::unanswered(Timestamp::UNIX_EPOCH);
        let head = Head { status: 200, ..Head::default() };
        dialect::read_page(Dialect::V1, &head, &documented().to_string(), &mut attempt);
        assert!(attempt.result.unwrap_err().message.contains("v1 has no list"));
    }
}
