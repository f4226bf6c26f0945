//! What the program draws with, where the terminal has UTF-8 and where it has not.

use crate::fixture::Fixture;

/// All that people read of one run, with a rack that is called oddly and a VM that fails.
fn told(lang: &str) -> String {
    let fixture = Fixture::new().env("LANG", lang).env("V6FLEET_SANDBOX", "true");
    fixture.write("fleet.csv", "vmid,rack_id\n10000,dc1r27\n10099,å→b·c\n");
    let run = ["run", "fleet.csv", "--action", "allocate", "--rate", "none", "--progress", "always"];
    let run = fixture.run(&run).exits(3);
    let audit = fixture.run(&["audit", "fleet.csv"]);
    let looked = [&["runs"][..], &["history", "10099"], &["status"], &["check", "fleet.csv"]];
    let looked = looked.map(|args| fixture.run(args)).into_iter().chain([run, audit]);
    looked.map(|outcome| outcome.stdout + &outcome.stderr).collect()
}

#[test]
fn where_the_locale_is_not_utf_8_lines_and_arrows_are_ascii_and_names_stay_as_they_are() {
    for lang in ["", "C", "sv_SE.ISO-8859-1"] {
        let told = told(lang).replace("å→b·c", "RACK");
        assert!(told.is_ascii() && told.contains("RACK") && told.contains("    -> "), "{lang}: {told}");
        assert!(told.contains("\n-----") && told.contains(" VMs | "), "{told}");
    }
    let told = told("C.UTF-8");
    assert!(told.contains("    → ") && told.contains("\n─────") && told.contains(" · "), "{told}");
    assert!(!told.contains("->"), "{told}");
}
