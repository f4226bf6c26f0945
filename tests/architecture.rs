//! What `ARCHITECTURE.md` says of the rooms, held against the sources: which file imports which.
//!
//! An import is a `use`, or a path that begins at a module of ours, outside of tests. One that a face hands on (`pub use`)
//! leads to the file that defines it.

#![expect(clippy::unwrap_used, reason = "a source that cannot be read fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, UseTree, Visibility};

/// A file of the crate, by the path of its module; the crate itself has an empty one.
type Module = Vec<String>;

/// The sources, each with what it imports and what it hands on.
struct House {
    files: BTreeMap<Module, Source>,
}

/// What one file says of others.
#[derive(Default)]
struct Source {
    paths: BTreeSet<Vec<String>>,
    /// By the name by which others find it.
    handed_on: BTreeMap<String, Vec<String>>,
    /// The names of modules that lie in this file itself, the one that is being read last.
    within: Vec<String>,
    /// Modules that are there for tests alone.
    for_tests: BTreeSet<String>,
}

impl House {
    fn read() -> Self {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = BTreeMap::new();
        read_all(&src, &mut Vec::new(), &mut files);
        let of_tests = |(module, source): (&Module, &Source)| {
            let own = |name: &String| [&module[..], std::slice::from_ref(name)].concat();
            source.for_tests.iter().map(own).collect::<Vec<Module>>()
        };
        let of_tests: Vec<Module> = files.iter().flat_map(of_tests).collect();
        files.retain(|module, _| !of_tests.iter().any(|tests| module.starts_with(tests)));
        Self { files }
    }

    /// Every file with those that it imports.
    fn arrows(&self) -> BTreeMap<&Module, BTreeSet<&Module>> {
        let arrows_of = |(module, source): (&'_ Module, &Source)| -> BTreeSet<&Module> {
            let targets = source.paths.iter().filter_map(|path| self.target(module, path));
            targets.filter(|target| *target != module).collect()
        };
        self.files.iter().map(|file| (file.0, arrows_of(file))).collect()
    }

    /// The file that defines what `path` leads to, seen from `module`; `None` where it leads out of the crate.
    fn target(&self, module: &Module, path: &[String]) -> Option<&Module> {
        let (first, rest) = path.split_first()?;
        let (mut at, mut rest) = match first.as_str() {
            "crate" => (Module::new(), rest),
            "self" => (module.clone(), rest),
            "super" => (module[..module.len().saturating_sub(1)].to_vec(), rest),
            child if self.files.contains_key(&[&module[..], &[child.to_owned()]].concat()) => {
                (module.clone(), path)
            }
            _ => return None,
        };
        while let Some((name, further)) = rest.split_first() {
            let inside = [&at[..], std::slice::from_ref(name)].concat();
            if name == "super" {
                at.pop();
            } else if self.files.contains_key(&inside) {
                at = inside;
            } else if let Some(handed_on) = self.files.get(&at)?.handed_on.get(name) {
                return self.target(&at, &[handed_on, further].concat());
            } else {
                break;
            }
            rest = further;
        }
        self.files.get_key_value(&at).map(|(module, _)| module)
    }
}

fn read_all(dir: &Path, module: &mut Module, files: &mut BTreeMap<Module, Source>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            module.push(name);
            read_all(&path, module, files);
            module.pop();
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "main" {
            let mut source = Source::default();
            source.visit_file(&syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap());
            let own = if name == "lib" { module.clone() } else { [&module[..], &[name]].concat() };
            files.insert(own, source);
        }
    }
}

impl Source {
    /// Notes a path as seen from the file: what a module within it calls `super` may be the file itself.
    fn note(&mut self, path: &[String]) {
        let up = path.iter().take_while(|name| *name == "super").count();
        let path = match up {
            0 => path.to_vec(),
            up if up <= self.within.len() => [&["self".to_owned()], &path[up..]].concat(),
            _ => path[self.within.len()..].to_vec(),
        };
        self.paths.insert(path);
    }
}

/// Every path that a `use` stands for, and the name by which it is known then.
fn spread(tree: &UseTree, before: &[String], paths: &mut Vec<(Vec<String>, Option<String>)>) {
    let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
    match tree {
        UseTree::Path(path) => spread(&path.tree, &with(&path.ident), paths),
        UseTree::Name(name) if name.ident == "self" => paths.push((before.to_vec(), before.last().cloned())),
        UseTree::Name(name) => paths.push((with(&name.ident), Some(name.ident.to_string()))),
        UseTree::Rename(name) => paths.push((with(&name.ident), Some(name.rename.to_string()))),
        UseTree::Glob(_) => paths.push((before.to_vec(), None)),
        UseTree::Group(group) => group.items.iter().for_each(|tree| spread(tree, before, paths)),
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"))
    })
}

impl<'ast> Visit<'ast> for Source {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Mod(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            Item::Macro(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        match (is_for_tests(attributes), item) {
            (false, _) => visit::visit_item(self, item),
            (true, Item::Mod(module)) => drop(self.for_tests.insert(module.ident.to_string())),
            (true, _) => {}
        }
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        self.within.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.within.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let mut paths = Vec::new();
        spread(&item.tree, &[], &mut paths);
        for (path, name) in paths {
            match (&item.vis, name) {
                (Visibility::Inherited, _) | (_, None) => self.note(&path),
                (_, Some(name)) => drop(self.handed_on.insert(name, path)),
            }
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if names.len() > 1 {
            self.note(&names);
        }
        visit::visit_path(self, path);
    }
}

fn shown(module: &Module) -> String {
    if module.is_empty() { "lib".to_owned() } else { module.join("/") }
}

/// The files that each file reaches by its imports.
fn reached<'h>(
    from: &'h Module,
    arrows: &BTreeMap<&'h Module, BTreeSet<&'h Module>>,
) -> BTreeSet<&'h Module> {
    let (mut seen, mut left) = (BTreeSet::new(), vec![from]);
    while let Some(file) = left.pop() {
        left.extend(arrows[file].iter().filter(|next| seen.insert(**next)));
    }
    seen
}

#[test]
fn no_two_files_import_each_other_by_whatever_way() {
    let house = House::read();
    let arrows = house.arrows();
    let reach: BTreeMap<&Module, _> = arrows.keys().map(|file| (*file, reached(file, &arrows))).collect();
    let mut circles = Vec::new();
    for (from, to) in arrows.iter().flat_map(|(from, all)| all.iter().map(move |to| (*from, *to))) {
        if reach[to].contains(from) {
            circles.push(format!("{} → {}", shown(from), shown(to)));
        }
    }
    assert!(circles.is_empty(), "{} imports run in circles:\n{}", circles.len(), circles.join("\n"));
}

const DOCUMENT: &str = include_str!("../ARCHITECTURE.md");

/// The words in backticks of a text.
fn named(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The cells of the rows of the table below a heading.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let section = DOCUMENT.split(&format!("\n## {heading}\n")).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// What each room imports of the others.
fn rooms(house: &House) -> BTreeMap<String, BTreeSet<String>> {
    let mut rooms: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (from, targets) in house.arrows() {
        let Some(room) = from.first() else { continue };
        let others = targets.iter().filter_map(|to| to.first()).filter(|to| *to != room);
        rooms.entry(room.clone()).or_default().extend(others.cloned());
    }
    rooms
}

#[test]
fn each_room_imports_what_the_document_says_and_nothing_else() {
    let documented: BTreeMap<String, BTreeSet<String>> =
        table("Rooms").iter().map(|row| (row[0].trim_matches('`').to_owned(), named(row[2]))).collect();
    let actual = rooms(&House::read());
    let names = |rooms: &BTreeMap<String, _>| rooms.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&documented), names(&actual), "rooms in ARCHITECTURE.md, and in src");
    for (room, imports) in &actual {
        assert_eq!(&documented[room], imports, "imports of {room}: in ARCHITECTURE.md, and in src");
    }
}

/// A row of the nevers: `thing` outside `place`, `place`.
struct Never {
    things: BTreeSet<String>,
    places: BTreeSet<String>,
}

impl Never {
    fn read(row: &[&str]) -> Self {
        let (things, places) = row[0].split_once(" outside ").unwrap();
        Self { things: named(things), places: named(places) }
    }

    /// A crate, or a place of ours.
    fn breaks(&self, thing: &str, file: &str) -> bool {
        let within = |place: &String| file == place || file.starts_with(&format!("{place}/"));
        let is_meant = |name: &String| thing == name || thing.starts_with(&format!("{name}/"));
        self.things.iter().any(is_meant) && !self.places.iter().any(within) && !self.things.iter().any(within)
    }
}

#[test]
fn what_must_never_be_is_not() {
    let house = House::read();
    let arrows = house.arrows();
    let nevers: Vec<Never> = table("Nevers").iter().map(|row| Never::read(row)).collect();
    let mut broken = Vec::new();
    for (module, source) in &house.files {
        let crates = source.paths.iter().filter_map(|path| path.first().cloned());
        let ours = arrows[module].iter().map(|target| shown(target));
        let used: BTreeSet<String> = crates.chain(ours).collect();
        for thing in
            used.iter().filter(|thing| nevers.iter().any(|never| never.breaks(thing, &shown(module))))
        {
            broken.push(format!("{} uses {thing}", shown(module)));
        }
    }
    assert!(
        !nevers.is_empty() && broken.is_empty(),
        "against the nevers of ARCHITECTURE.md:\n{}",
        broken.join("\n")
    );
}

#[test]
fn a_never_that_is_broken_is_told() {
    let never = Never::read(&["`rusqlite` outside `ledger/sqlite`, `bench`", "why"]);
    for (file, is_broken) in
        [("ledger/sqlite", false), ("ledger/sqlite/vms", false), ("ledger/sqlite2", true), ("report", true)]
    {
        assert_eq!(never.breaks("rusqlite", file), is_broken, "{file}");
        assert!(!never.breaks("rusqlite3", file));
    }
}

#[test]
fn every_source_that_the_document_leads_to_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named = named(DOCUMENT);
    let sources: Vec<_> =
        named.iter().filter(|name| Path::new(name).extension().is_some_and(|it| it == "rs")).collect();
    let is_there = |name: &str| [root.join("src"), root.into()].iter().any(|dir| dir.join(name).is_file());
    let lost: Vec<_> = sources.iter().filter(|name| !is_there(name)).collect();
    assert!(!sources.is_empty() && lost.is_empty(), "ARCHITECTURE.md leads to {lost:?}");
}
