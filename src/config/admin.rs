//! `admin`: where people reach a running process, and what they have to show.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::mistake::{Read, Refusal};
use super::reader::{Field, Section};
use super::{keys, mistake::quoted};
use crate::plan::Admin;

/// A shorter one could be guessed.
const LEAST_TOKEN: usize = 16;

/// Reads the section; `file` is the config's own, beside which the state is kept where nothing else is said.
pub(super) fn read(root: &Section<'_>, file: &Path, base_dir: &Path) -> Read<Admin> {
    let field = root.field("admin");
    let section = field.section(keys::ADMIN)?;
    let (listen_field, token_field) = (section.field("listen"), section.field("token"));
    let listen = read_listen(&listen_field);
    let token = read_token(&token_field);
    let state = read_state(&section.field("state"), file, base_dir);
    let (listen, token) = (listen?, token?);
    if let Some(listen) = listen.filter(|listen| !listen.ip().is_loopback())
        && token.is_none()
    {
        let hint = "set `admin.token`, best as ${NAME}, or listen on 127.0.0.1";
        return Err(listen_field.wrong(format!("others can reach {listen}, and there is no token"), hint));
    }
    Ok(Admin { listen, token, state: state? })
}

fn read_listen(field: &Field<'_>) -> Read<Option<SocketAddr>> {
    const HINT: &str = "write an address and a port, such as 127.0.0.1:8686, or off";
    let read = field.parsed(HINT, |text| match text {
        "off" => Ok(None),
        text => match text.parse() {
            Ok(address) => Ok(Some(address)),
            Err(_) => Err(Refusal::new(format!("{} is not an address with a port", quoted(text)), HINT)),
        },
    })?;
    Ok(read.unwrap_or(Some(keys::LISTEN)))
}

/// Its value is in no message.
fn read_token(field: &Field<'_>) -> Read<Option<SecretString>> {
    let hint = format!("give at least {LEAST_TOKEN} letters, digits or signs, without spaces");
    let Some(text) = field.text(&hint)? else { return Ok(None) };
    if !text.chars().all(|c| c.is_ascii_graphic()) {
        return Err(field.wrong("has something in it that does not fit into a header", hint));
    }
    if text.len() < LEAST_TOKEN {
        return Err(field.wrong("is too short", hint));
    }
    Ok(Some(SecretString::from(text)))
}

fn read_state(field: &Field<'_>, file: &Path, base_dir: &Path) -> Read<Option<PathBuf>> {
    const HINT: &str = "write the path of a file that can be written, or off";
    Ok(match field.text(HINT)? {
        Some("off") => None,
        Some(path) => Some(base_dir.join(path)),
        None => {
            let stem = file.file_stem().unwrap_or(file.as_os_str());
            let mut name = stem.to_os_string();
            name.push(".state.json");
            Some(base_dir.join(name))
        }
    })
}
