//! Types and licences of the small world.

use super::*;
use vermilion_proto::{
    FieldClass, FieldRule, HolderTag, IdentifierClass, Implementation, IssueLicences, LicenceType, Origin, Provenance, PublishType,
    Sharing, SharingDecision,
};
use vermilion_registry::codes::identifier::Identifier;
use vermilion_registry::{Named, Series, days};

/// Which licence and version an identifier in the clear names; none if it is not well-formed.
pub fn of_identifier(identifier: &str) -> Option<Named> {
    let identifier = Identifier::parse(identifier).ok()?;
    Some(Named { series: Series::of(&identifier), version: identifier.version() })
}

pub fn type_code(number: u32) -> String {
    format!("{CITY}{number:03}")
}

pub fn field(name: &str, class: FieldClass, disclosed_by_default: bool) -> FieldRule {
    FieldRule { name: name.into(), class: class as i32, disclosed_by_default, mask: String::new() }
}

/// A type with a field of each class, some of them disclosed by default.
pub fn licence_type(number: u32, sharing: Sharing) -> LicenceType {
    LicenceType {
        code: type_code(number),
        version: 1,
        name_zh: "公共场所卫生许可证".into(),
        name_en: "Hygiene permit".into(),
        kind: "证件".into(),
        defining_authority: CITY.into(),
        holder_code_types: vec!["001".into(), "111".into()],
        identifier_class: IdentifierClass::Public as i32,
        content_schema: r#"{"type":"object"}"#.into(),
        fields: vec![
            field("premises", FieldClass::Public, true),
            field("inspector", FieldClass::Government, false),
            field("turnover", FieldClass::Commercial, false),
            field("owner", FieldClass::Personal, true),
            field("phone", FieldClass::Personal, false),
            field("idNumber", FieldClass::Sensitive, true),
        ],
        base_fields: vec![field("certificateNumber", FieldClass::Public, false)],
        retention_years: 20,
        sharing: Some(SharingDecision {
            sharing: sharing as i32,
            legal_basis: if sharing == Sharing::Unconditional { String::new() } else { "个人信息保护法".into() },
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub fn publish(world: &mut World, definition: LicenceType, issuers: &[&str]) -> NewRecord {
    let implementations = issuers.iter().map(|u| Implementation { unit: (*u).into(), ..Default::default() }).collect();
    let head = world.head(CITY, &["ann", "oli", "vera"]);
    world.must(head, Of::PublishType(PublishType { r#type: Some(definition), implementations }), vec![])
}

/// A good item: issued ten days before START, for five years.
pub fn item(type_number: u32, authority: &str, serial: &str, version: u16) -> LicenceItem {
    let issued = days::of(START) - 10;
    LicenceItem {
        format_version: 1,
        identifier: Identifier::build(&type_code(type_number), authority, serial, version).unwrap().as_str().to_owned(),
        type_code: type_code(type_number),
        type_version: 1,
        issuing_authority: authority.into(),
        area: "440305".into(),
        version: u32::from(version),
        decided_on: issued,
        issued_on: issued,
        effective_from: issued,
        expires_on: issued + 5 * 365,
        holders: vec![holder("公司甲")],
        field_digests: (0..4u8).flat_map(|n| [n; 32]).collect(),
        field_classes: vec![1, 2, 4, 5],
        provenance: Some(Provenance { origin: Origin::New as i32, ..Default::default() }),
        ciphertext_digest: vec![9; 32],
        ..Default::default()
    }
}

pub fn holder(name: &str) -> HolderTag {
    HolderTag { tag: sha256(format!("holder {name}").as_bytes()).to_vec(), code_type: "001".into() }
}

/// The same item under a personal identifier.
pub fn personal(mut item: LicenceItem) -> LicenceItem {
    let identifier = Identifier::parse(&item.identifier).unwrap();
    item.identifier_tag = sha256(item.identifier.as_bytes()).to_vec();
    item.identifier_digest = sha256(b"salted").to_vec();
    item.series_tag = sha256(identifier.series().as_bytes()).to_vec();
    item.identifier.clear();
    item
}

pub fn issue_body(items: &[LicenceItem]) -> Of {
    Of::IssueLicences(IssueLicences { items_root: vec![1; 32], items_count: items.len() as u32 })
}

/// A world with an issuing unit (mia makes, carl checks), a using unit (una) and type 001.
pub fn with_health() -> (World, String) {
    let mut world = World::new();
    let health = world.add_unit("health", "440305", &["issuing-unit"]);
    world.add_operator("mia", &health, &["maker"]);
    world.add_operator("carl", &health, &["checker"]);
    let bank = world.add_unit("bank", "440304", &["using-unit"]);
    world.add_operator("una", &bank, &["user"]);
    publish(&mut world, licence_type(1, Sharing::Unconditional), &[&health]);
    (world, health)
}
