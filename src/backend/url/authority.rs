//! The user, the password and the hosts of a store's URL.

use std::{fmt, net::Ipv6Addr};

use percent_encoding::percent_decode_str;

use super::{ENCODE, malformed};
use crate::error::Error;

/// A parsed `user:password@a,b:6379`.
#[derive(PartialEq, Eq)]
pub(crate) struct Authority {
    pub(crate) login: Option<Login>,
    /// At least one, unless [`parse_login`] read it.
    pub(crate) hosts: Vec<Host>,
}

/// The user and the password; without a user, the password is that of the server's default user.
#[derive(PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) user: Option<String>,
    pub(crate) password: String,
}

/// A host and its port; an IPv6 address has no brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) port: u16,
}

/// Splits `host,host/path` behind the `://` of a URL into authority and path.
pub(crate) fn split_path(rest: &str) -> Result<(&str, &str), Error> {
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if path.contains('@') {
        return Err(malformed(&format!("it contains `@` after `/`; {ENCODE}")));
    }
    Ok((authority, path))
}

impl Authority {
    pub(crate) fn parse(authority: &str, default_port: u16) -> Result<Self, Error> {
        let (login, hosts) = split_login(authority)?;
        let hosts = hosts.split(',').map(|host| Host::parse(host.trim(), default_port)).collect::<Result<_, _>>()?;
        Ok(Self { login, hosts })
    }
}

/// Splits `user:password@hosts`.
pub(crate) fn split_login(authority: &str) -> Result<(Option<Login>, &str), Error> {
    let Some((login, hosts)) = authority.rsplit_once('@') else { return Ok((None, authority)) };
    let Some((user, password)) = login.split_once(':') else {
        return Err(malformed(
            "it has a user without a password: write `user:password@host`, or `:password@host` for a password alone",
        ));
    };
    let user = decode(user)?;
    Ok((Some(Login { user: (!user.is_empty()).then_some(user), password: decode(password)? }), hosts))
}

/// Decodes a user or a password.
fn decode(text: &str) -> Result<String, Error> {
    let must_be_encoded = |character: char| "/?#@:[]".contains(character) || character.is_whitespace() || character.is_control();
    let decoded = percent_decode_str(text).decode_utf8().ok().filter(|_| has_whole_escapes(text));
    match decoded {
        Some(decoded) if !text.contains(must_be_encoded) => Ok(decoded.into_owned()),
        _ => Err(malformed(ENCODE)),
    }
}

/// Returns whether two hexadecimal digits follow each `%`.
fn has_whole_escapes(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2)
}

impl Host {
    /// Parses `host`, `host:port`, `[::1]` or `[::1]:port`.
    fn parse(host: &str, default_port: u16) -> Result<Self, Error> {
        let (name, port) = match host.strip_prefix('[') {
            Some(address) => {
                let (name, port) =
                    address.split_once(']').filter(|(name, _)| name.parse::<Ipv6Addr>().is_ok()).ok_or_else(bracketless)?;
                (name, (!port.is_empty()).then(|| port.strip_prefix(':').ok_or_else(bracketless)).transpose()?)
            }
            None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
        };
        let port = match port {
            None => default_port,
            Some("") => return Err(malformed("a port is missing after `:`")),
            Some(port) if port.contains(':') => return Err(bracketless()),
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(no_port)?,
        };
        if name.is_empty() {
            return Err(malformed("a host is missing"));
        }
        let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !host.starts_with('[') && !name.bytes().all(is_valid) {
            return Err(malformed(&format!("a host has a character that no host has; {ENCODE}")));
        }
        Ok(Self { name: name.to_ascii_lowercase(), port })
    }
}

fn bracketless() -> Error {
    malformed(&format!("put an IPv6 address in brackets, as in `[::1]:6379`; {ENCODE}"))
}

fn no_port() -> Error {
    malformed(&format!("a port is a number from 1 to 65535; {ENCODE}"))
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.contains(':') {
            true => write!(f, "[{}]:{}", self.name, self.port),
            false => write!(f, "{}:{}", self.name, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(authority: &str) -> String {
        let error = Authority::parse(authority, 1).err().unwrap_or_else(|| panic!("{authority}"));
        assert!(error.is_invalid_input());
        error.to_string()
    }

    #[test]
    fn ports_and_logins_are_optional() {
        let hosts = |authority| Authority::parse(authority, 1).unwrap().hosts.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(hosts("localhost"), ["localhost:1"]);
        assert_eq!(hosts("A.example, b_1:2"), ["a.example:1", "b_1:2"]);
        assert_eq!(hosts("[::1],[::2]:9"), ["[::1]:1", "[::2]:9"]);
        let login = |authority| Authority::parse(authority, 1).unwrap().login.map(|login| (login.user, login.password));
        assert_eq!(login("user:s%2Fcret!$&'()*+;=@a"), Some((Some("user".to_owned()), "s/cret!$&'()*+;=".to_owned())));
        assert_eq!(login(":secret@a"), Some((None, "secret".to_owned())));
        assert_eq!(login("a"), None);
    }

    #[test]
    fn an_error_says_what_is_wrong() {
        for (authority, what) in [
            ("", "a host is missing"),
            ("a,,b", "a host is missing"),
            ("user:x@", "a host is missing"),
            (":6379", "a host is missing"),
            ("a:", "a port is missing"),
            ("[::1]:", "a port is missing"),
            ("a:0", "1 to 65535"),
            ("a:65536", "1 to 65535"),
            ("::1", "brackets"),
            ("fe80::1:6379", "brackets"),
            ("[::1", "brackets"),
            ("[::1]9", "brackets"),
            ("[a]:9", "brackets"),
            ("a b", "no host has"),
            ("user@a", "a user without a password"),
        ] {
            assert!(refused(authority).contains(what), "{authority}: {}", refused(authority));
        }
    }

    #[test]
    fn a_password_that_is_not_encoded_is_not_shown() {
        for password in ["QZ@JX", "QZ:JX", "QZ[JX", "QZ]JX", "QZ%JX", "QZ%1", "QZ%", "QZ%FF", "QZ JX", "QZ\tJX", "QZ/JX", "QZ#JX"]
        {
            let message = refused(&format!("user:{password}@host"));
            assert!(message.contains("percent-encode") && !message.contains("QZ") && !message.contains("JX"), "{message}");
        }
    }
}
