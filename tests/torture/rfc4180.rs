//! A reader of CSV that shares nothing with the program's: what both take from a file must be the same.

/// The ids of a file's VMs in their order, each once; `None` where the file is no CSV as RFC 4180 has it, or has no
/// column of that name.
pub(crate) fn ids(bytes: &[u8], is_vmid: impl Fn(&str) -> bool) -> Option<Vec<String>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (said, text) = match said(text) {
        Some((delimiter, rest)) => (vec![delimiter], rest),
        None => (vec![',', ';', '\t', '|'], text),
    };
    let readings = said.into_iter().filter_map(|delimiter| table(text, delimiter, &is_vmid));
    // Where a header names its ids whatever the delimiter, it has one column.
    readings.reduce(|first, other| if other.0 > first.0 { other } else { first })?.1
}

/// Excel's `sep=;`, and what follows that line.
fn said(text: &str) -> Option<(char, &str)> {
    let end = text.find(['\r', '\n']).unwrap_or(text.len());
    let (line, rest) = text.split_at(end);
    let line = line.trim();
    let line = line.strip_prefix('"').and_then(|line| line.strip_suffix('"')).unwrap_or(line);
    let said = line.get(..4).filter(|start| start.eq_ignore_ascii_case("sep="))?;
    let mut said = line[said.len()..].chars();
    match (said.next(), said.next()) {
        (None, _) => Some(('\t', rest)),
        (Some(c), None) if c.is_ascii_punctuation() && c != '"' => Some((c, rest)),
        _ => None,
    }
}

/// How many columns there are, and the ids; no ids where a row is broken.
fn table(
    text: &str,
    delimiter: char,
    is_vmid: impl Fn(&str) -> bool,
) -> Option<(usize, Option<Vec<String>>)> {
    // A byte order mark says nothing behind empty lines either.
    let text = text.trim_start_matches(['\r', '\n']);
    let (records, is_whole) = records(text.strip_prefix('\u{feff}').unwrap_or(text), delimiter);
    let mut rows = records.into_iter().filter(|row| row.iter().any(|cell| !cell.trim().is_empty()));
    let header = rows.next()?;
    let column = header.iter().position(|name| is_vmid(name.trim()))?;
    let mut ids = Vec::new();
    for row in rows {
        if row.len() != header.len() {
            return Some((header.len(), None));
        }
        let id = row[column].trim().to_owned();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Some((header.len(), is_whole.then_some(ids)))
}

/// All records up to the first that is broken, and whether none was.
fn records(text: &str, delimiter: char) -> (Vec<Vec<String>>, bool) {
    let (mut records, mut record) = (Vec::new(), Vec::new());
    let mut rest = text;
    while !rest.is_empty() {
        let Some((field, behind)) = field(rest, delimiter) else { return (records, false) };
        record.push(field);
        rest = match behind.strip_prefix(delimiter) {
            Some("") => {
                record.push(String::new());
                ""
            }
            Some(next) => {
                rest = next;
                continue;
            }
            None => behind.strip_prefix("\r\n").or(behind.strip_prefix(['\r', '\n'])).unwrap_or(behind),
        };
        records.push(std::mem::take(&mut record));
    }
    (records, true)
}

/// A field, and what follows it: a delimiter, a line end, or nothing.
fn field(text: &str, delimiter: char) -> Option<(String, &str)> {
    let is_end = |c: char| c == delimiter || c == '\r' || c == '\n';
    let Some(mut rest) = text.strip_prefix('"') else {
        let (field, behind) = text.split_at(text.find(is_end).unwrap_or(text.len()));
        return (!field.contains('"')).then(|| (field.to_owned(), behind));
    };
    let mut field = String::new();
    loop {
        let (part, behind) = rest.split_once('"')?;
        field.push_str(part);
        match behind.strip_prefix('"') {
            Some(_) => field.push('"'),
            None => return (behind.is_empty() || behind.starts_with(is_end)).then_some((field, behind)),
        }
        rest = &behind[1..];
    }
}

#[test]
fn the_reader_takes_what_rfc_4180_has_and_nothing_else() {
    let ids = |text: &str| ids(text.as_bytes(), |name| name == "vmid").map(|ids| ids.join(" "));
    for (text, expected) in [
        ("vmid,name\n1,a\r\n2,\"b\"\"\n,c\"\r\r3,", Some("1 2 3")),
        ("vmid;name\n\"1\";a,b\n;\n2;\n1;a,b", Some("1 2")),
        ("\u{feff}sep=|\r\nname|vmid\r\n\r\na|1", Some("1")),
        ("vmid\n1\n\n2\n", Some("1 2")),
        ("vmid,name\n1", None),
        ("vmid\n\"1\"0\n", None),
        ("vmid,name\n1, \"a\"\n", None),
        ("vmid,name\n1,\"a\n", None),
        ("id\n1\n", None),
    ] {
        assert_eq!(ids(text).as_deref(), expected, "{text:?}");
    }
}
