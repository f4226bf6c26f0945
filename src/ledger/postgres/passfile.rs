//! A file of passwords, as libpq reads it: `host:port:database:user:password`, a line each, `*` for any. Pure.

/// What a password is for: host, port, database and user.
pub(super) type Lock<'l> = [&'l str; 4];

/// The first password that fits one of the locks, the first lock first.
pub(super) fn password(file: &str, locks: &[Lock<'_>]) -> Option<String> {
    let lines: Vec<[String; 5]> = file.lines().filter_map(fields).collect();
    let fits = |line: &&[String; 5], lock: &Lock<'_>| {
        line.iter().zip(lock).all(|(field, wanted)| field == "*" || field == wanted)
    };
    let of = |lock: &Lock<'_>| lines.iter().find(|line| fits(line, lock)).map(|line| line[4].clone());
    locks.iter().find_map(of)
}

/// A backslash takes the meaning from a colon, and from another backslash.
fn fields(line: &str) -> Option<[String; 5]> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = vec![String::new()];
    let mut chars = line.trim_end_matches('\r').chars();
    while let Some(c) = chars.next() {
        // A password may hold any.
        let is_last = fields.len() == 5;
        match c {
            ':' if !is_last => fields.push(String::new()),
            '\\' => fields.last_mut()?.extend(chars.next()),
            c => fields.last_mut()?.push(c),
        }
    }
    fields.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# host:port:database:user:password\n\
        db.example:5432:fleet:me:one\n\
        db.example:*:*:me:t\\:w\\\\o:2\r\n\
        half:a:line\n\
        /run/pg:5432:fleet:*:socket\n\
        *:*:*:else:any\n";

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        for (lock, expected) in [
            (["db.example", "5432", "fleet", "me"], Some("one")),
            (["db.example", "5433", "fleet", "me"], Some("t:w\\o:2")),
            (["db.example", "5432", "other", "me"], Some("t:w\\o:2")),
            (["db.example", "5432", "fleet", "you"], None),
            (["/run/pg", "5432", "fleet", "you"], Some("socket")),
            (["half", "a", "line", ""], None),
            (["h", "1", "d", "else"], Some("any")),
        ] {
            assert_eq!(password(FILE, &[lock]).as_deref(), expected, "{lock:?}");
        }
        let locks = [["none", "1", "d", "me"], ["db.example", "5432", "fleet", "me"]];
        assert_eq!(password(FILE, &locks).as_deref(), Some("one"));
    }
}
