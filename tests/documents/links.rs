//! Whatever a document links to is there, to the heading.

use std::collections::BTreeSet;
use std::path::Path;

use crate::{FENCE, documents, read};

/// The lines outside fenced blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with(FENCE);
        fenced ^= fence;
        !fence && !fenced
    })
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter_map(|line| line.strip_prefix('#'));
    headings.map(|heading| anchor(heading.trim_start_matches('#').trim())).collect()
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn links(text: &str) -> Vec<String> {
    let text = prose(text).collect::<Vec<_>>().join("\n");
    text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap().to_owned()).collect()
}

#[test]
fn an_anchor_is_made_as_github_makes_it() {
    assert_eq!(anchor("What happens when…"), "what-happens-when");
    assert_eq!(anchor("Whose id is it?"), "whose-id-is-it");
    assert_eq!(anchor("v6fleet run"), "v6fleet-run");
}

#[test]
fn every_file_and_heading_that_is_linked_to_is_there() {
    for document in documents() {
        let text = read(&document);
        for link in links(&text).iter().filter(|link| !link.starts_with("http")) {
            let (file, heading) = link.split_once('#').map_or((link.as_str(), None), |(f, h)| (f, Some(h)));
            let linked = if file.is_empty() {
                document.clone()
            } else {
                document.parent().unwrap_or(Path::new("")).join(file)
            };
            assert!(linked.exists(), "{}: {link}", document.display());
            let there = heading.is_none_or(|heading| anchors(&read(&linked)).contains(heading));
            assert!(there, "{}: {link}", document.display());
        }
    }
}

#[test]
fn every_document_in_docs_is_linked_to_from_the_readme() {
    let linked: BTreeSet<String> =
        links(&read("README.md")).iter().map(|link| link.split('#').next().unwrap().to_owned()).collect();
    for document in documents() {
        let name = document.to_str().unwrap();
        assert!(name == "README.md" || linked.contains(name), "{name}");
    }
}
