//! A key on a device, as a [`Signer`].

use super::{Pin, Pkcs11Error, Pkcs11Uri};
use crate::signer::{Signer, SignerError};
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::{
        Mechanism,
        eddsa::{EddsaParams, EddsaSignatureScheme},
    },
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    slot::{Slot, TokenInfo},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};
use vermilion_crypto::{PublicKey, Signature, check_registrable};

/// Signed once when a key is opened. Nothing of the ledger begins like it.
const PROOF: &[u8] = b"vermilion: is this the private key of the public key beside it?";

/// CKA_EC_PARAMS of Ed25519: RFC 8410's identifier, PKCS#11 3.0's curve name, and the identifier of its drafts.
const ED25519_PARAMS: [&[u8]; 3] =
    [&[0x06, 0x03, 0x2b, 0x65, 0x70], b"\x13\x0cedwards25519", &[0x06, 0x09, 0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01]];

/// The libraries that this process has loaded. A library has one state for a process, and ending it
/// would end every signer's session: so none is ever ended.
static MODULES: Mutex<BTreeMap<PathBuf, Pkcs11>> = Mutex::new(BTreeMap::new());

/// An Ed25519 key on a device. Signatures are made one after the other, in one session.
pub struct Pkcs11Signer {
    public: PublicKey,
    uri: Pkcs11Uri,
    key: ObjectHandle,
    // A session does one operation at a time.
    session: Mutex<Session>,
}

impl Pkcs11Signer {
    /// Opens the key that the URI names, with the PIN from where [`Pin::find`] looks.
    pub fn open(uri: &Pkcs11Uri) -> Result<Self, Pkcs11Error> {
        Self::open_with(uri, &Pin::find(uri)?)
    }

    /// Opens the key with this PIN: loads the library, logs in, finds the key, and has it sign once.
    ///
    /// A process is logged in to a token once for all its sessions. While another signer of the same
    /// token is open, the token does not look at the PIN again.
    pub fn open_with(uri: &Pkcs11Uri, pin: &Pin) -> Result<Self, Pkcs11Error> {
        let module = module(uri.module_path())?;
        let slot = token(&module, uri)?;
        let session = module.open_ro_session(slot).map_err(|e| device("open a session", &e))?;
        log_in(&session, pin)?;
        let key = private_key(&session, uri)?;
        let public = public_key(&session, key)?;
        let signer = Self { public, uri: uri.clone(), key, session: Mutex::new(session) };
        signer.signature(PROOF)?;
        Ok(signer)
    }

    /// Its name.
    #[must_use]
    pub fn uri(&self) -> &Pkcs11Uri {
        &self.uri
    }

    fn signature(&self, message: &[u8]) -> Result<Signature, Pkcs11Error> {
        let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519));
        // Whoever panicked with the session in hand left no state of ours half made.
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let made = session.sign(&mechanism, self.key, message).map_err(|e| device("sign", &e))?;
        drop(session);
        let made: Signature = made.try_into().map_err(|_| Pkcs11Error::BadSignature)?;
        // A signature that a failing device got wrong can give its key away: none leaves unchecked.
        self.public.verify(message, &made).map_err(|_| Pkcs11Error::BadSignature)?;
        Ok(made)
    }
}

impl Signer for Pkcs11Signer {
    fn public(&self) -> PublicKey {
        self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, SignerError> {
        self.signature(message).map_err(|e| SignerError(e.to_string()))
    }
}

impl std::fmt::Debug for Pkcs11Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pkcs11Signer(of {}, {})", hex::encode(self.public.0), self.uri)
    }
}

fn device(doing: &'static str, error: &Error) -> Pkcs11Error {
    // cryptoki's text of a return value is a paragraph of the standard; its name is what one looks up.
    let why = match error {
        Error::Pkcs11(value, _) => format!("{value:?}"),
        other => other.to_string(),
    };
    Pkcs11Error::Device { doing, why }
}

/// The library, loaded and started.
fn module(path: &Path) -> Result<Pkcs11, Pkcs11Error> {
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(module) = modules.get(path) {
        return Ok(module.clone());
    }
    if !path.exists() {
        return Err(Pkcs11Error::NoModule(path.into()));
    }
    let refused = |error: Error| Pkcs11Error::Module { path: path.into(), why: error.to_string() };
    let module = Pkcs11::new(path).map_err(refused)?;
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // The same library under another path.
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(refused(error)),
    }
    modules.insert(path.into(), module.clone());
    Ok(module)
}

/// The slot of the token that the URI names.
fn token(module: &Pkcs11, uri: &Pkcs11Uri) -> Result<Slot, Pkcs11Error> {
    let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
    let meant = |token: &TokenInfo| {
        token.token_initialized()
            && is(&uri.token, token.label())
            && is(&uri.serial, token.serial_number())
            && is(&uri.manufacturer, token.manufacturer_id())
            && is(&uri.model, token.model())
    };
    let slots = module.get_slots_with_token().map_err(|e| device("list its tokens", &e))?;
    // A token that does not say who it is, perhaps pulled out just now, is not the one.
    let found: Vec<Slot> = slots.into_iter().filter(|slot| module.get_token_info(*slot).is_ok_and(|token| meant(&token))).collect();
    match found[..] {
        [slot] => Ok(slot),
        [] => Err(Pkcs11Error::NoToken(uri.token_words())),
        _ => Err(Pkcs11Error::ManyTokens { wanted: uri.token_words(), count: found.len() }),
    }
}

fn log_in(session: &Session, pin: &Pin) -> Result<(), Pkcs11Error> {
    match session.login(UserType::User, Some(pin.secret())) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => Err(Pkcs11Error::WrongPin),
        Err(Error::Pkcs11(RvError::PinLocked | RvError::PinExpired, _)) => Err(Pkcs11Error::PinLocked),
        Err(error) => Err(device("log in", &error)),
    }
}

fn private_key(session: &Session, uri: &Pkcs11Uri) -> Result<ObjectHandle, Pkcs11Error> {
    let mut wanted = vec![Attribute::Class(ObjectClass::PRIVATE_KEY)];
    wanted.extend(uri.object.as_ref().map(|label| Attribute::Label(label.as_bytes().to_vec())));
    wanted.extend(uri.id.clone().map(Attribute::Id));
    let found = session.find_objects(&wanted).map_err(|e| device("look for the key", &e))?;
    match found[..] {
        [key] => Ok(key),
        [] => Err(Pkcs11Error::NoKey(uri.key_words())),
        _ => Err(Pkcs11Error::ManyKeys { wanted: uri.key_words(), count: found.len() }),
    }
}

fn attributes(session: &Session, object: ObjectHandle, types: &[AttributeType]) -> Result<Vec<Attribute>, Pkcs11Error> {
    session.get_attributes(object, types).map_err(|e| device("describe the key", &e))
}

/// The public key beside a private key: with the same id, or the same label where there is no id.
fn public_key(session: &Session, private: ObjectHandle) -> Result<PublicKey, Pkcs11Error> {
    let mut beside = vec![Attribute::Class(ObjectClass::PUBLIC_KEY)];
    let (mut kind, mut id, mut label) = (None, None, None);
    for attribute in attributes(session, private, &[AttributeType::KeyType, AttributeType::Id, AttributeType::Label])? {
        match attribute {
            Attribute::KeyType(found) => kind = Some(found),
            Attribute::Id(found) => id = Some(found).filter(|id| !id.is_empty()),
            Attribute::Label(found) => label = Some(found).filter(|label| !label.is_empty()),
            _ => {}
        }
    }
    if kind != Some(KeyType::EC_EDWARDS) {
        let kind = kind.map_or_else(|| "of no kind".into(), |kind| kind.to_string());
        return Err(Pkcs11Error::NotEd25519(kind));
    }
    // One of them is there: it was found by one.
    beside.extend(id.map(Attribute::Id).or(label.map(Attribute::Label)));
    let found = session.find_objects(&beside).map_err(|e| device("look for the public key", &e))?;
    let [public] = found[..] else { return Err(Pkcs11Error::PublicKeys(found.len())) };
    let (mut params, mut point) = (Vec::new(), Vec::new());
    for attribute in attributes(session, public, &[AttributeType::EcParams, AttributeType::EcPoint])? {
        match attribute {
            Attribute::EcParams(found) => params = found,
            Attribute::EcPoint(found) => point = found,
            _ => {}
        }
    }
    ed25519(&params, &point)
}

/// The key of CKA_EC_PARAMS and CKA_EC_POINT. PKCS#11 2.40 and SoftHSM wrap the point in a DER OCTET
/// STRING, 3.0 has it bare; the lengths tell them apart.
fn ed25519(params: &[u8], point: &[u8]) -> Result<PublicKey, Pkcs11Error> {
    if !ED25519_PARAMS.contains(&params) {
        return Err(Pkcs11Error::NotEd25519(format!("its curve is {}", hex::encode(params))));
    }
    let bare = match point {
        [0x04, 0x20, bare @ ..] if bare.len() == 32 => bare,
        bare if bare.len() == 32 => bare,
        other => return Err(Pkcs11Error::NotEd25519(format!("its public point has {} bytes", other.len()))),
    };
    check_registrable(bare).map_err(|_| Pkcs11Error::NotEd25519("its public point is not on the curve, or of small order".into()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vermilion_crypto::SigningKey;

    #[test]
    fn points_bare_and_wrapped() {
        let key = SigningKey::from_seed(&[7; 32]).public();
        let wrapped = [&[0x04, 0x20], &key.0[..]].concat();
        for params in ED25519_PARAMS {
            assert_eq!(ed25519(params, &key.0), Ok(key));
            assert_eq!(ed25519(params, &wrapped), Ok(key));
        }
        for point in [&wrapped[..33], &key.0[1..], &[&wrapped[..], &[0]].concat(), &[&[0x03, 0x20], &key.0[..]].concat(), &[]] {
            let error = Pkcs11Error::NotEd25519(format!("its public point has {} bytes", point.len()));
            assert_eq!(ed25519(ED25519_PARAMS[0], point), Err(error));
        }
        let small = ed25519(ED25519_PARAMS[0], &[0; 32]);
        assert!(matches!(small, Err(Pkcs11Error::NotEd25519(_))), "{small:?}");
        let p256 = ed25519(&[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07], &key.0);
        assert_eq!(p256, Err(Pkcs11Error::NotEd25519("its curve is 06082a8648ce3d030107".into())));
    }

    proptest! {
        #[test]
        fn any_point_is_a_key_or_none(point in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(key) = ed25519(ED25519_PARAMS[0], &point) {
                prop_assert!(point.ends_with(&key.0));
            }
        }
    }

    #[test]
    fn it_can_be_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Pkcs11Signer>();
    }
}
