//! The HTML pages of runs and audits in a real browser: what a person does with them.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::dialect::Dialect::V2;
use crate::fixture::{Fixture, Outcome, eventually};
use crate::sandbox::Sandbox;

const RUN: [&str; 7] = ["run", "fleet.csv", "--action", "allocate", "--sandbox", "--rate", "none"];

/// The VMs that the table shows.
fn shown(browser: &Browser) -> Vec<String> {
    let ids = browser.evaluate(
        "return [...document.querySelectorAll('#vms tbody tr')].map((row) => row.cells[0].textContent)",
    );
    serde_json::from_value(ids).unwrap()
}

fn status(browser: &Browser) -> Value {
    browser.evaluate("return document.querySelector('[role=status]').textContent")
}

fn page(outcome: &Outcome) -> PathBuf {
    outcome.dir.as_ref().unwrap().join("report.html")
}

/// VMs 10000 to 10299 on racks of their own choosing.
fn fleet() -> String {
    let vm = |id: u32| format!("{id},vm-{},dc1r2{}\n", id % 7, 7 + id % 3);
    std::iter::once("vmid,name,rack\n".to_owned()).chain((10_000..10_300).map(vm)).collect()
}

#[test]
fn the_table_filters_sorts_and_turns_its_pages() {
    let fixture = Fixture::new();
    let Some(browser) = Browser::start() else { return };
    fixture.write("fleet.csv", fleet());
    browser.open(&page(&fixture.run(&RUN).exits(3)));

    assert_eq!(status(&browser), "300 of 300 rows, shown: 1 to 100");
    browser.click("[name=on]");
    assert_eq!(shown(&browser)[0], "10100");

    browser.type_into("[name=outcome]", "failed");
    eventually("only failed VMs are shown", || shown(&browser) == ["10099", "10199", "10299"]);
    browser.type_into("[name=rack]", "dc1r29");
    eventually("only those of a rack are shown", || shown(&browser).len() == 1);
    browser.click("[type=reset]");
    eventually("all are shown again", || status(&browser) == "300 of 300 rows, shown: 1 to 100");
    browser.type_into("[name=text]", "VM-3 dc1r29");
    let both = |id: &u32| id % 7 == 3 && id % 3 == 2;
    let both: Vec<String> = (10_000..10_300).filter(both).map(|id| id.to_string()).collect();
    eventually("every word has to be there", || shown(&browser) == both);
    browser.click("[type=reset]");
    eventually("all are shown again", || shown(&browser).len() == 100);

    browser.click("#vms thead th:first-child button");
    assert_eq!(shown(&browser)[0], "10000");
    browser.click("#vms thead th:first-child button");
    assert_eq!(shown(&browser)[..2], ["10299", "10298"]);
    let sorted = "return [...document.querySelectorAll('[aria-sort]')].map((header) => header.ariaSort)";
    assert_eq!(browser.evaluate(sorted), json!(["descending"]));
    browser.click("[data-find=not_found]");
    assert_eq!(shown(&browser), ["10299", "10199", "10099"]);
}

#[test]
fn hostile_text_is_text_and_the_page_asks_nobody_for_anything() {
    let fixture = Fixture::new();
    let Some(browser) = Browser::start() else { return };
    let evil =
        r"</td><script>document.title = 'taken'</script><img src=https://example.net/ onerror=alert(1)>'";
    let row = |id: u32| format!("{id},{evil},{evil},{evil}\n");
    let rows: String = [10_000, 10_001, 10_099].map(row).concat();
    fixture.write("fleet.csv", format!("vmid,name,rack,owner <b>\n{rows}"));
    let page = page(&fixture.run(&RUN).exits(3));
    browser.open(&page);

    let names =
        "return [...document.querySelectorAll('#vms tbody td:nth-child(2)')].map((name) => name.textContent)";
    assert_eq!(browser.evaluate(names), json!([evil, evil, evil]));
    let foreign = "return [document.querySelectorAll('img, b b').length, document.scripts.length]";
    assert_eq!(browser.evaluate(foreign), json!([0, 1]));
    assert!(browser.evaluate("return document.title").as_str().unwrap().starts_with("Complete"));
    browser.type_into("[name=text]", "script");
    eventually("all three are found", || status(&browser) == "3 of 3 rows, shown: 1 to 3");
    assert_asks_nobody(&browser, &page);
}

#[test]
fn a_plans_page_shows_what_would_change_and_finds_what_is_blocked() {
    let sandbox = Sandbox::start(&[]);
    let fixture = Fixture::at(&sandbox).speaking(V2);
    let Some(browser) = Browser::start() else { return };
    fixture.write_fleet("vmid,name,rack\n10000,a,dc1r27\n10001,b,dc1r27\n10100,c,dc1r28\n");
    let evil = "<img src=https://example.net/> no IPv6";
    sandbox.set_vm("10001", &json!({ "reason": evil }));
    let page = page(&fixture.run(&["plan", "fleet.csv", "--action", "allocate", "--rate", "none"]).exits(0));
    browser.open(&page);

    assert!(
        browser.evaluate("return document.title").as_str().unwrap().starts_with("Plan complete: 2 of 3 VMs")
    );
    let racks = "return [...document.querySelectorAll('.planned tbody th')].map((rack) => rack.textContent)";
    assert_eq!(browser.evaluate(racks), json!(["dc1r27", "dc1r28"]));
    assert_eq!(browser.evaluate("return document.querySelector('#blocked .error').textContent.trim()"), evil);
    browser.click("[data-outcome=blocked]");
    assert_eq!(shown(&browser), [fixture.id(10_001)]);
    browser.click("[type=reset]");
    eventually("all are shown again", || shown(&browser).len() == 3);
    browser.type_into("[name=outcome]", "create");
    eventually("only those to create are shown", || shown(&browser).len() == 2);
    let colors = "return new Set(['create', 'keep', 'update', 'blocked'].map((outcome) => { \
        const mark = document.querySelector(`.racks i.${outcome}`); \
        return getComputedStyle(mark).backgroundColor })).size";
    assert_eq!(browser.evaluate(colors), 4, "each outcome has its colour");
    browser.resize(500, 800);
    let overflow = "const page = document.documentElement; return page.scrollWidth - page.clientWidth";
    assert_eq!(browser.evaluate(overflow), 0, "the page is wider than its window");
    assert_asks_nobody(&browser, &page);
}

/// That the browser had no complaint and no request but for the page, and that it would refuse one.
fn assert_asks_nobody(browser: &Browser, page: &Path) {
    assert_eq!(browser.console(), Vec::<String>::new());
    assert_eq!(browser.requests(), [format!("file://{}", page.display())]);
    browser.evaluate("document.body.append(Object.assign(new Image(), { src: 'https://example.net/' }))");
    eventually("a request is refused", || !browser.console().is_empty());
}

#[test]
fn an_audits_page_shows_hostile_text_as_text_and_fits_a_phone() {
    let fixture = Fixture::new();
    let Some(browser) = Browser::start() else { return };
    let evil = r"</td></style><script>document.title = 'taken'</script><img src=https://example.net/>";
    fixture.write("fleet.csv", "vmid\n10001\n10002\n");
    fixture.run(&RUN).exits(0);
    fixture.write("plan.csv", format!("vmid,name,rack\n10001,{evil},{evil}\n10002,{evil},\n10003,{evil},\n"));
    fixture.run(&["audit", "plan.csv", "--sandbox", "-o", "audit.html"]).exits(11);
    let page = fixture.path("audit.html");
    browser.open(&page);

    let texts = |class: &str| {
        let script =
            "return [...document.querySelectorAll(`.evidence td.CLASS`)].map((cell) => cell.textContent)";
        browser.evaluate(&script.replace("CLASS", class))
    };
    assert_eq!(texts("name"), json!([evil, evil, evil]));
    assert_eq!(texts("expected")[0], evil);
    let foreign = "return [document.querySelectorAll('img').length, document.scripts.length, document.title]";
    let title = browser.evaluate(foreign);
    assert_eq!((&title[0], &title[1]), (&json!(0), &json!(0)));
    assert!(title[2].as_str().unwrap().starts_with("3 findings about 3 VMs"), "{title}");

    browser.click("[href='#never_seen']");
    assert_eq!(
        browser.evaluate("return document.querySelector(':target h3').textContent"),
        "never_seen: 1 VM"
    );
    browser.resize(500, 800);
    let overflow = "const page = document.documentElement; return page.scrollWidth - page.clientWidth";
    assert_eq!(browser.evaluate(overflow), 0, "the page is wider than its window");
    assert_asks_nobody(&browser, &page);
}
