//! The name of a key on a device: RFC 7512, of which we take what can name a signing key.

use std::{
    fmt::{Display, Write as _},
    path::{Path, PathBuf},
    str::FromStr,
};

/// What a key's name begins with. A key file's path does not: a node tells them apart by this.
pub const SCHEME: &str = "pkcs11:";

/// The longest URI that is read, in bytes.
pub const MAX_URI: usize = 4096;

/// Why a text is not a URI that names a signing key. No message shows an attribute's value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// Another scheme.
    #[error("a key on a device is named by a URI that begins with {SCHEME}")]
    Scheme,
    /// Longer than [`MAX_URI`].
    #[error("the PKCS#11 URI is longer than {MAX_URI} bytes")]
    TooLong,
    /// A part without `=`; parts are counted from 1, path and query together.
    #[error("part {0} of the PKCS#11 URI is not of the form name=value")]
    Part(usize),
    /// No attribute of RFC 7512, or one of the query in the path or the other way round. The name is as given.
    #[error("part {0} of the PKCS#11 URI has a name that is not known in that place")]
    Unknown(usize),
    /// An attribute of RFC 7512 that we do not match. To ignore it could be to take another key.
    #[error("{0} in a PKCS#11 URI is not supported")]
    Unsupported(&'static str),
    /// A PIN in the URI would lie in configuration and logs.
    #[error("a PIN does not belong in a PKCS#11 URI: name its file as pin-source=file:/…")]
    PinValue,
    /// Said twice.
    #[error("{0} is said twice in the PKCS#11 URI")]
    Twice(&'static str),
    /// Said, and empty.
    #[error("{0} is empty in the PKCS#11 URI")]
    Empty(&'static str),
    /// A character that RFC 7512 wants escaped, a broken escape, text that is not UTF-8, or a control character.
    #[error("{0} in the PKCS#11 URI is not escaped as RFC 7512 has it, or is no text")]
    Value(&'static str),
    /// A type other than `private`.
    #[error("type in the PKCS#11 URI is not private, and only a private key signs")]
    Type,
    /// `module-path` is no absolute path.
    #[error("module-path in the PKCS#11 URI is not an absolute path")]
    ModulePath,
    /// `pin-source` is not `file:` with an absolute path, or has a `%` in it, which file URIs and paths read differently.
    #[error("pin-source in the PKCS#11 URI is not file: with an absolute path without %")]
    PinSource,
    /// Something must be said and is not.
    #[error("the PKCS#11 URI does not say {0}")]
    Missing(&'static str),
}

/// Which library, which token, which key, and where the PIN lies. Never the PIN itself, so that it may
/// be shown.
///
/// Its invariants: a token is named by label or serial, a key by label or id; nothing named is empty;
/// paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pkcs11Uri {
    pub(super) token: Option<String>,
    pub(super) serial: Option<String>,
    pub(super) manufacturer: Option<String>,
    pub(super) model: Option<String>,
    pub(super) object: Option<String>,
    pub(super) id: Option<Vec<u8>>,
    module_path: PathBuf,
    pin_source: Option<PathBuf>,
}

/// Attributes of RFC 7512's path that we do not match: a slot's number and a library's version change
/// by themselves.
const UNSUPPORTED: [&str; 6] =
    ["slot-id", "slot-description", "slot-manufacturer", "library-manufacturer", "library-version", "library-description"];

impl Pkcs11Uri {
    /// Whether the text is meant as one of these, and not as a file's path.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// Reads a URI: `pkcs11:token=…;object=…?module-path=/…&pin-source=file:/…`.
    ///
    /// The path takes `token`, `serial`, `manufacturer`, `model`, `object`, `id` and `type=private`, the
    /// query `module-path` and `pin-source`. Everything else is refused, and so is everything twice.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let rest = text.strip_prefix(SCHEME).ok_or(UriError::Scheme)?;
        if text.len() > MAX_URI {
            return Err(UriError::TooLong);
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut said = Said::default();
        let parts = |text, between| Some(text).filter(|t: &&str| !t.is_empty()).into_iter().flat_map(move |t| t.split(between));
        let mut number = 0;
        for part in parts(path, ';') {
            number += 1;
            said.path_attribute(part, number)?;
        }
        for part in parts(query, '&') {
            number += 1;
            said.query_attribute(part, number)?;
        }
        said.complete()
    }

    /// The device's library.
    #[must_use]
    pub fn module_path(&self) -> &Path {
        &self.module_path
    }

    /// The file whose first line is the PIN.
    #[must_use]
    pub fn pin_source(&self) -> Option<&Path> {
        self.pin_source.as_deref()
    }

    /// The part that names the token, as it stands in a URI: for messages.
    pub(super) fn token_words(&self) -> String {
        let mut words = Words::new(';');
        words.add("token", self.token.as_deref().map(str::as_bytes), false);
        words.add("serial", self.serial.as_deref().map(str::as_bytes), false);
        words.add("manufacturer", self.manufacturer.as_deref().map(str::as_bytes), false);
        words.add("model", self.model.as_deref().map(str::as_bytes), false);
        words.text
    }

    /// The part that names the key.
    pub(super) fn key_words(&self) -> String {
        let mut words = Words::new(';');
        words.add("object", self.object.as_deref().map(str::as_bytes), false);
        words.add("id", self.id.as_deref(), true);
        words.text
    }
}

impl FromStr for Pkcs11Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        Self::parse(text)
    }
}

impl Display for Pkcs11Uri {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut query = Words::new('&');
        query.add("module-path", Some(self.module_path.as_os_str().as_encoded_bytes()), false);
        let pin_source = self.pin_source.as_ref().map(|path| [b"file:", path.as_os_str().as_encoded_bytes()].concat());
        query.add("pin-source", pin_source.as_deref(), false);
        write!(f, "{SCHEME}{};{}?{}", self.token_words(), self.key_words(), query.text)
    }
}

/// Attributes as they are put together.
struct Words {
    text: String,
    between: char,
}

impl Words {
    fn new(between: char) -> Self {
        Self { text: String::new(), between }
    }

    /// `all`: every byte escaped, as RFC 7512 would have it for ids.
    fn add(&mut self, name: &str, value: Option<&[u8]>, all: bool) {
        let Some(value) = value else { return };
        if !self.text.is_empty() {
            self.text.push(self.between);
        }
        self.text.push_str(name);
        self.text.push('=');
        // Path and query differ in `/`, which only the query's values have a use for.
        let bare = |byte: u8| !all && (unreserved(byte) || byte == b':' || (byte == b'/' && self.between == '&'));
        for &byte in value {
            if bare(byte) {
                self.text.push(char::from(byte));
            } else {
                // Writing into a string does not fail.
                let _ = write!(self.text, "%{byte:02X}");
            }
        }
    }
}

fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// RFC 7512, pk11-path-res-avail and pk11-query-res-avail; the separators `;` and `&` are split off before.
fn in_path(byte: u8) -> bool {
    unreserved(byte) || b":[]@!$'()*+,=&".contains(&byte)
}

fn in_query(byte: u8) -> bool {
    unreserved(byte) || b":[]@!$'()*+,=/?|".contains(&byte)
}

/// What was said so far.
#[derive(Default)]
struct Said {
    token: Option<String>,
    serial: Option<String>,
    manufacturer: Option<String>,
    model: Option<String>,
    object: Option<String>,
    id: Option<Vec<u8>>,
    kind: Option<String>,
    module_path: Option<String>,
    pin_source: Option<String>,
}

impl Said {
    fn path_attribute(&mut self, part: &str, number: usize) -> Result<(), UriError> {
        let (name, value) = part.split_once('=').ok_or(UriError::Part(number))?;
        let text = |name| text(name, value, in_path);
        match name {
            "token" => once("token", &mut self.token, text("token")?),
            "serial" => once("serial", &mut self.serial, text("serial")?),
            "manufacturer" => once("manufacturer", &mut self.manufacturer, text("manufacturer")?),
            "model" => once("model", &mut self.model, text("model")?),
            "object" => once("object", &mut self.object, text("object")?),
            "id" => once("id", &mut self.id, bytes("id", value, in_path)?),
            "type" => once("type", &mut self.kind, text("type")?),
            _ => Err(UNSUPPORTED.iter().find(|known| **known == name).map_or(UriError::Unknown(number), |n| UriError::Unsupported(n))),
        }
    }

    fn query_attribute(&mut self, part: &str, number: usize) -> Result<(), UriError> {
        let (name, value) = part.split_once('=').ok_or(UriError::Part(number))?;
        let text = |name| text(name, value, in_query);
        match name {
            "module-path" => once("module-path", &mut self.module_path, text("module-path")?),
            "pin-source" => once("pin-source", &mut self.pin_source, text("pin-source")?),
            "pin-value" => Err(UriError::PinValue),
            "module-name" => Err(UriError::Unsupported("module-name")),
            _ => Err(UriError::Unknown(number)),
        }
    }

    fn complete(self) -> Result<Pkcs11Uri, UriError> {
        if self.kind.is_some_and(|kind| kind != "private") {
            return Err(UriError::Type);
        }
        if self.token.is_none() && self.serial.is_none() {
            return Err(UriError::Missing("which token: token=… or serial=…"));
        }
        if self.object.is_none() && self.id.is_none() {
            return Err(UriError::Missing("which key: object=… or id=…"));
        }
        let module_path = self.module_path.map(PathBuf::from).ok_or(UriError::Missing("the device's library: module-path=/…"))?;
        if !module_path.is_absolute() {
            return Err(UriError::ModulePath);
        }
        Ok(Pkcs11Uri {
            token: self.token,
            serial: self.serial,
            manufacturer: self.manufacturer,
            model: self.model,
            object: self.object,
            id: self.id,
            module_path,
            pin_source: self.pin_source.as_deref().map(file).transpose()?,
        })
    }
}

fn once<T>(name: &'static str, place: &mut Option<T>, value: T) -> Result<(), UriError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(UriError::Twice(name)),
    }
}

/// `file:/…` or, as RFC 8089 also has it, `file:///…`. No host, no command to run.
fn file(source: &str) -> Result<PathBuf, UriError> {
    let path = source.strip_prefix("file:").ok_or(UriError::PinSource)?;
    let path = path.strip_prefix("//").unwrap_or(path);
    if !path.starts_with('/') || path.starts_with("//") || path.contains('%') {
        return Err(UriError::PinSource);
    }
    Ok(path.into())
}

fn text(name: &'static str, value: &str, bare: fn(u8) -> bool) -> Result<String, UriError> {
    let text = String::from_utf8(bytes(name, value, bare)?).map_err(|_| UriError::Value(name))?;
    if text.chars().any(char::is_control) {
        return Err(UriError::Value(name));
    }
    Ok(text)
}

fn bytes(name: &'static str, value: &str, bare: fn(u8) -> bool) -> Result<Vec<u8>, UriError> {
    if value.is_empty() {
        return Err(UriError::Empty(name));
    }
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    loop {
        rest = match rest {
            [] => return Ok(out),
            [b'%', high, low, rest @ ..] => {
                let mut byte = [0];
                hex::decode_to_slice([*high, *low], &mut byte).map_err(|_| UriError::Value(name))?;
                out.extend(byte);
                rest
            }
            [byte, rest @ ..] if bare(*byte) => {
                out.push(*byte);
                rest
            }
            _ => return Err(UriError::Value(name)),
        };
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MODULE: &str = "module-path=/usr/lib/softhsm/libsofthsm2.so";

    fn of(rest: &str) -> Result<Pkcs11Uri, UriError> {
        Pkcs11Uri::parse(&format!("pkcs11:{rest}"))
    }

    #[test]
    fn a_whole_uri() {
        let text = "pkcs11:token=%E6%9C%B1%E5%8D%B0;serial=0a;manufacturer=Maker%20%26%20Co;model=v2;object=node:3;id=%00%FFa;type=private\
                    ?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/run/credentials/vermiliond/pin";
        let uri: Pkcs11Uri = text.parse().unwrap();
        assert_eq!(uri.token.as_deref(), Some("朱印"));
        assert_eq!(uri.serial.as_deref(), Some("0a"));
        assert_eq!(uri.manufacturer.as_deref(), Some("Maker & Co"));
        assert_eq!(uri.model.as_deref(), Some("v2"));
        assert_eq!(uri.object.as_deref(), Some("node:3"));
        assert_eq!(uri.id.as_deref(), Some(&b"\x00\xffa"[..]));
        assert_eq!(uri.module_path(), Path::new("/usr/lib/softhsm/libsofthsm2.so"));
        assert_eq!(uri.pin_source(), Some(Path::new("/run/credentials/vermiliond/pin")));
        assert_eq!(uri.to_string(), text.replace(";type=private", "").replace("%FFa", "%FF%61"));
        assert!(Pkcs11Uri::is_meant(text) && !Pkcs11Uri::is_meant("keys/node.pem"));
    }

    #[test]
    fn what_may_stand_bare_and_what_not() {
        let uri = of(&format!("object=a[b]@c!d$e'f(g)h*i+j,k=l&m:n-o.p_q~r;token=t?{MODULE}")).unwrap();
        assert_eq!(uri.object.as_deref(), Some("a[b]@c!d$e'f(g)h*i+j,k=l&m:n-o.p_q~r"));
        for bad in ["a b", "a/b", "a#b", "a%", "a%4", "a%4g", "a%+1", "a\"b", "é", "%FF", "%C3", "%00", "%0A", "%C2%85"] {
            assert_eq!(of(&format!("token=t;object={bad}?{MODULE}")), Err(UriError::Value("object")), "{bad}");
        }
        // In the query a slash may, an ampersand would separate.
        assert_eq!(of("token=t;object=k?module-path=/a|b?c").unwrap().module_path(), Path::new("/a|b?c"));
        assert_eq!(of("token=t;object=k?module-path=/a&b"), Err(UriError::Part(4)));
    }

    #[test]
    fn each_error_is_its_own() {
        let cases = [
            ("token=t;object=k", UriError::Missing("the device's library: module-path=/…")),
            (&format!("object=k?{MODULE}"), UriError::Missing("which token: token=… or serial=…")),
            (&format!("token=t?{MODULE}"), UriError::Missing("which key: object=… or id=…")),
            ("", UriError::Missing("which token: token=… or serial=…")),
            ("?", UriError::Missing("which token: token=… or serial=…")),
            ("token=t;;object=k", UriError::Part(2)),
            ("token=t;", UriError::Part(2)),
            (";token=t", UriError::Part(1)),
            ("token", UriError::Part(1)),
            ("token=t;object=k?module-path=/m&", UriError::Part(4)),
            ("token=t;Object=k", UriError::Unknown(2)),
            ("token=t;x-vendor=1", UriError::Unknown(2)),
            ("token=t;=1", UriError::Unknown(2)),
            ("token=t;module-path=/m", UriError::Unknown(2)),
            ("token=t?object=k", UriError::Unknown(2)),
            ("token=t;slot-id=0", UriError::Unsupported("slot-id")),
            ("token=t;library-version=2.6", UriError::Unsupported("library-version")),
            ("token=t?module-name=softhsm2", UriError::Unsupported("module-name")),
            ("token=t?pin-value=1234", UriError::PinValue),
            ("token=t;token=t", UriError::Twice("token")),
            ("token=t;id=1;id=1", UriError::Twice("id")),
            ("token=t?module-path=/m&module-path=/m", UriError::Twice("module-path")),
            ("token=", UriError::Empty("token")),
            ("token=t;id=", UriError::Empty("id")),
            ("token=t?pin-source=", UriError::Empty("pin-source")),
            ("token=t;object=k;type=public?module-path=/m", UriError::Type),
            ("token=t;object=k?module-path=libsofthsm2.so", UriError::ModulePath),
            ("token=t;object=k?module-path=./m", UriError::ModulePath),
        ];
        for (text, error) in cases {
            assert_eq!(of(text), Err(error), "{text}");
        }
        for text in ["", "pkcs11", "PKCS11:token=t", "file:/etc/key", "keys/node.pem", " pkcs11:token=t"] {
            assert_eq!(Pkcs11Uri::parse(text), Err(UriError::Scheme), "{text}");
        }
        let long = |n| format!("token=t;object=k?module-path=/{}", "m".repeat(n));
        let most = MAX_URI - SCHEME.len() - long(0).len();
        assert!(of(&long(most)).is_ok());
        assert_eq!(of(&long(most + 1)), Err(UriError::TooLong));
    }

    #[test]
    fn a_pin_lies_in_a_file() {
        let of = |source: &str| of(&format!("token=t;object=k?{MODULE}&pin-source={source}")).map(|uri| uri.pin_source);
        for good in ["file:/etc/pin", "file:///etc/pin", "file:%2Fetc/pin"] {
            assert_eq!(of(good), Ok(Some("/etc/pin".into())), "{good}");
        }
        for bad in
            ["/etc/pin", "file:pin", "file:", "file://host/pin", "file:////pin", "|/bin/cat", "env:PIN", "FILE:/etc/pin", "file:/a%25b"]
        {
            assert_eq!(of(bad), Err(UriError::PinSource), "{bad}");
        }
    }

    #[test]
    fn no_error_shows_a_value() {
        for text in ["token=7394", "7394", "token=t;7394=1", "token=t?pin-value=7394", "token=t;object=k?module-path=7394", "token=7394/"] {
            let error = of(text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("7394"), "{error:?}");
        }
    }

    fn words() -> impl Strategy<Value = String> {
        "\\PC{1,12}".prop_filter("controls are refused", |text| !text.chars().any(char::is_control))
    }

    fn any_uri() -> impl Strategy<Value = Pkcs11Uri> {
        let some = || proptest::option::of(words());
        let id = proptest::option::of(proptest::collection::vec(any::<u8>(), 1..20));
        let pin_file = proptest::option::of("[^/%\\p{C}]\\PC{0,12}").prop_map(|name| name.map(|n| n.replace('%', "")));
        (some(), words(), some(), some(), some(), (words(), id), (words(), pin_file), any::<(bool, bool)>()).prop_map(
            |(token, serial, more_serial, manufacturer, model, (object, id), (module, pin), (by_token, by_label))| Pkcs11Uri {
                serial: if by_token && token.is_some() { more_serial } else { Some(serial) },
                token,
                manufacturer,
                model,
                object: (by_label || id.is_none()).then_some(object),
                id,
                module_path: format!("/{module}").into(),
                pin_source: pin.map(|name| format!("/{name}").into()),
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(uri in any_uri()) {
            prop_assert_eq!(Pkcs11Uri::parse(&uri.to_string()), Ok(uri));
        }

        #[test]
        fn what_is_read_is_shown_in_one_way(path in "((token|serial|object|id|type|slot-id)=[a-z%0-9]{0,4};?){0,5}",
            query in "((module-path|pin-source)=(file:)?/?[a-z%0-9]{0,4}&?){0,3}") {
            if let Ok(uri) = of(&format!("{path}?{query}")) {
                prop_assert_eq!(Pkcs11Uri::parse(&uri.to_string()), Ok(uri));
            }
        }

        #[test]
        fn any_text_parses_or_fails_clearly(text in "\\PC{0,60}", head in any::<bool>()) {
            // A random text never says all that must be said.
            let read = if head { of(&text) } else { Pkcs11Uri::parse(&text) };
            prop_assert!(!read.unwrap_err().to_string().is_empty());
        }

        #[test]
        fn order_does_not_matter(order in Just(vec!["token=t", "serial=s", "object=k", "id=%01", "type=private"]).prop_shuffle()) {
            let uri = of(&format!("{}?{MODULE}", order.join(";"))).unwrap();
            prop_assert_eq!(uri, of(&format!("token=t;serial=s;object=k;id=%01?{MODULE}")).unwrap());
        }
    }
}
