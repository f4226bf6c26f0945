//! Manual pages, of the whole program and of each command.

use clap::Command as Clap;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::options::command;
use super::sections::{FIRST_STEP, SECTIONS};

/// There is no such command.
#[derive(Debug, thiserror::Error)]
#[error("there is no command {0:?}; v6fleet --help lists them")]
pub struct UnknownCommand(String);

/// The manual page of the whole program, or of one verb of it.
pub fn manual(verb: Option<&str>) -> Result<Vec<u8>, UnknownCommand> {
    let mut whole = command();
    whole.build();
    let mut page = Vec::new();
    // Writing to a Vec cannot fail.
    let _ = match verb {
        None => write_whole(whole.after_long_help(FIRST_STEP), &mut page),
        Some(verb) => {
            let known =
                verb.split('-').try_fold(&whole, |command, name| command.find_subcommand(name)).cloned();
            let command = known.ok_or_else(|| UnknownCommand(verb.to_owned()))?;
            Man::new(command.display_name(format!("v6fleet-{verb}"))).render(&mut page)
        }
    };
    Ok(page)
}

fn write_whole(command: Clap, page: &mut Vec<u8>) -> std::io::Result<()> {
    let man = Man::new(command);
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    man.render_subcommands_section(page)?;
    sections().to_writer(page)?;
    man.render_extra_section(page)?;
    man.render_version_section(page)
}

fn sections() -> Roff {
    let mut roff = Roff::default();
    for (heading, entries) in SECTIONS {
        // As man-pages(7) has it.
        roff.control("SH", [&*heading.to_uppercase().replace("CODES", "STATUS")]);
        for &(thing, said) in entries {
            roff.control("TP", []).text([bold(thing)]).text([roman(said)]);
        }
    }
    roff
}
