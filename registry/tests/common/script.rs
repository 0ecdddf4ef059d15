//! The language of the transcripts: one command a line, one block each.
//!
//! Everyone signs with the first post named when he was added, unless `name:post` says another.
//! `head.…=` bends the command's head, `in=` says for which unit it is. What is done to units and credentials has a basis and a
//! reason, unless the line says others.

use super::bent::{HEAD_KEYS, bend, break_item, node_signer};
use super::licences::{holder, item, licence_type, of_identifier, personal, type_code};
use super::*;
use goldenscript::{ArgumentConsumer, Context, Runner};
use std::error::Error;
use std::fmt::Write as _;
use vermilion_proto::{
    Act, Authority, ChangeStatus, ChangeUnit, Commitment, Delivery, EraseContent, IdentifierClass, Implementation, IssueLicences,
    LicenceRef, LicenceType, Mode, Origin, PolicyEntry, PublishImplementation, PublishType, RevokeOperator, SetPolicy, Sharing,
    SupersedeLicence, Use,
};
use vermilion_registry::codes::identifier::Identifier;
use vermilion_registry::status::{Flag, Shown, State};
use vermilion_registry::{Named, days, query};

pub type Answer = Result<String, Box<dyn Error>>;
/// A body, its items, and who signs if the line does not say.
pub type Asked = (Of, Vec<LicenceItem>, &'static [&'static str]);

pub struct Script {
    pub world: World,
    /// Licences by serial and version: as they were issued.
    licences: BTreeMap<String, LicenceItem>,
}

impl Script {
    pub fn new() -> Self {
        Self { world: World::new(), licences: BTreeMap::new() }
    }

    /// Over a ledger with an authority of its own.
    pub fn with_authority() -> Self {
        Self { world: World::with(super::identity::genesis_with_authority()), licences: BTreeMap::new() }
    }
}

impl Runner for Script {
    type Command = goldenscript::Command;

    fn run(&mut self, command: &goldenscript::Command, _: &Context) -> Answer {
        let mut args = command.consume_args();
        let answer = match command.name.as_str() {
            "time" => self.time(&mut args),
            "status" => self.status(&mut args),
            "history" => self.history(&mut args),
            "at" => self.at(&mut args),
            "search" => self.search(&mut args),
            name => match super::identity::ask(self, name, &mut args) {
                Some(answer) => answer,
                None => self.submit(name, &mut args),
            },
        }?;
        args.reject_next()?;
        Ok(answer)
    }
}

impl Script {
    fn submit(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Answer {
        let keys: Vec<(&str, &str)> = HEAD_KEYS.iter().filter_map(|k| args.take_key(k).map(|v| (*k, v))).collect();
        let after: u64 = args.take_key("head.not-after").map_or(Ok(1), str::parse)?;
        let (of, items, default_sign) = self.body(name, args)?;
        let sign: Vec<&str> = match keys.iter().find(|(k, _)| *k == "sign") {
            Some((_, "")) => vec![],
            Some((_, list)) => list.split(',').collect(),
            None => default_sign.to_vec(),
        };
        let unit = match keys.iter().find(|(k, _)| *k == "in") {
            Some((_, unit)) => self.unit(unit),
            None => sign.first().and_then(|s| self.world.people.get(s.split(':').next()?)).map(|p| p.unit.clone()).unwrap_or_default(),
        };
        let mut head = self.world.head(&unit, &sign);
        head.not_after_ms = self.world.now + after * DAY;
        if ["suspend", "restore", "revoke", "suspend-certificate", "restore-certificate"].contains(&name) {
            super::ground(&mut head);
        }
        for (key, value) in keys {
            if (key, value) == ("second", "key") {
                self.world.second_keys(&mut head, &sign);
            }
            bend(&mut head, key, value)?;
        }
        if name == "commitment" {
            head.signers = sign.iter().map(|n| node_signer(n)).collect();
            head.unit.clear();
        }
        if name == "certify" && sign.iter().any(|n| n.starts_with("node")) {
            head.signers = sign.iter().map(|n| Signer { post: "authority".into(), ..node_signer(n) }).collect();
            head.unit.clear();
        }
        let kept = items.clone();
        let (result, record) = self.world.apply(head, of, items);
        let Some(record) = record else {
            return Ok(match result {
                CommandResult::WrongLedger => "no record: wrong-ledger".into(),
                CommandResult::Expired => "no record: expired".into(),
                other => format!("{other:?}"),
            });
        };
        for position in &record.kept_positions {
            let item = &kept[*position as usize];
            let identifier = Identifier::parse(&item.identifier).ok();
            if let Some(id) = identifier {
                self.licences.insert(format!("{}@{}", id.serial(), id.version()), item.clone());
            }
        }
        let erased: String = self.world.erased.iter().map(|e| format!("\n  erased: row {} of record {}", e.position, e.seq)).collect();
        Ok(told(&record, &kept) + &erased)
    }

    fn body(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Result<Asked, Box<dyn Error>> {
        const CITY_POSTS: &[&str] = &["ann", "oli", "vera"];
        const ISSUERS: &[&str] = &["mia", "carl"];
        Ok(match name {
            "unit" => (self.register_unit(args)?, vec![], CITY_POSTS),
            "suspend" | "restore" => {
                let uscc = self.unit(args.next_pos().unwrap_or_default());
                (Of::ChangeUnit(ChangeUnit { uscc, action: args.take_key("action").unwrap_or(name).into() }), vec![], CITY_POSTS)
            }
            "operator" => (self.add_operator(args)?, vec![], CITY_POSTS),
            "revoke" => {
                let key_id = key(args.next_pos().unwrap_or_default()).public().id().to_vec();
                let posts = list(args.take_key("posts"));
                (Of::RevokeOperator(RevokeOperator { key_id, posts }), vec![], CITY_POSTS)
            }
            "type" => (self.publish(args)?, vec![], CITY_POSTS),
            "implement" => {
                let type_code = type_code(args.next_pos().unwrap_or_default().parse()?);
                let add = self.implementations(args.take_key("add"));
                let remove_units = list(args.take_key("remove")).iter().map(|u| self.unit(u)).collect();
                (Of::PublishImplementation(PublishImplementation { type_code, add, remove_units }), vec![], CITY_POSTS)
            }
            "policy" => (set_policy(args)?, vec![], CITY_POSTS),
            "commitment" => {
                let timestamp_token = vec![0; args.take_key("token").map_or(Ok(0), str::parse)?];
                (Of::Commitment(Commitment { timestamp_token }), vec![], &["node 1"])
            }
            "genesis" => (Of::Genesis(genesis()), vec![], CITY_POSTS),
            "issue" => {
                let items = self.items(args)?;
                let items_count = args.take_key("count").map_or(Ok(items.len() as u32), str::parse)?;
                (Of::IssueLicences(IssueLicences { items_root: vec![1; 32], items_count }), items, ISSUERS)
            }
            "supersede" => {
                let items = self.items(args)?;
                (Of::SupersedeLicence(SupersedeLicence { items_root: vec![1; 32], items_count: 1 }), items, ISSUERS)
            }
            "change" => {
                let (licence, licence_tag) = self.reference(args.next_pos().unwrap_or_default());
                let ago: Option<i64> = args.take_key("days-ago").map(str::parse).transpose()?;
                let effective_ms = ago.map_or(0, |d| self.world.now.saturating_add_signed(-d * DAY as i64));
                (
                    Of::ChangeStatus(ChangeStatus {
                        licence,
                        licence_tag,
                        to: args.take_key("to").unwrap_or_default().into(),
                        effective_ms,
                    }),
                    vec![],
                    ISSUERS,
                )
            }
            "erase" | "destroy" => {
                let (licence, licence_tag) = self.reference(args.next_pos().unwrap_or_default());
                let kind = args.take_key("kind").unwrap_or(if name == "erase" { "erasure" } else { "destruction" }).into();
                let archive_receipt = if args.take_key("receipt") == Some("none") { vec![] } else { vec![5; 32] };
                (Of::EraseContent(EraseContent { licence, licence_tag, kind, archive_receipt }), vec![], ISSUERS)
            }
            "use" => (Of::Use(self.use_of(args)?), vec![], &["una"]),
            other => return super::identity::body(self, other, args),
        })
    }

    pub fn unit(&self, name: &str) -> String {
        self.world.units.get(name).cloned().unwrap_or_else(|| name.to_owned())
    }

    fn register_unit(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<Of, Box<dyn Error>> {
        let name = args.next_pos().ok_or("which unit?")?;
        let area = args.take_key("area").unwrap_or("440305");
        let uscc = args.take_key("uscc").map(str::to_owned).unwrap_or_else(|| self.world.uscc(name, area));
        let level = args.take_key("level").unwrap_or(if area == "440300" { "city" } else { "district" });
        let mut unit = Unit {
            uscc,
            name_zh: name.into(),
            area: area.into(),
            level: level.into(),
            roles: list(args.take_key("roles")),
            ..Default::default()
        };
        unit.merged_into = args.take_key("merged-into").unwrap_or_default().into();
        match args.take_key("name") {
            Some("none") => unit.name_zh.clear(),
            Some("blank") => unit.name_zh = "\u{3000} ".into(),
            Some("spaced") => unit.name_zh.push_str("\u{3000}样例"),
            Some("turned") => unit.name_zh.push('\u{202e}'),
            Some(length) => unit.name_zh = "名".repeat(length.parse()?),
            None => {}
        }
        Ok(Of::RegisterUnit(RegisterUnit { unit: Some(unit) }))
    }

    fn add_operator(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<Of, Box<dyn Error>> {
        let name = args.next_pos().ok_or("which operator?")?;
        let unit = self.unit(args.take_key("in-unit").ok_or("of which unit?")?);
        let posts = list(args.take_key("posts"));
        let posts_ref: Vec<&str> = posts.iter().map(String::as_str).collect();
        let mut operator = operator(name, args.take_key("person").unwrap_or(name), &unit, &posts_ref);
        let day = |n: &str| n.parse::<u64>().map(|d| START + d * DAY);
        operator.from_ms = args.take_key("from-day").map_or(Ok(0), day)?;
        operator.until_ms = args.take_key("until-day").map_or(Ok(0), day)?;
        match args.take_key("key") {
            Some("small-order") => operator.public_key = [&[1][..], &[0; 31]].concat(),
            Some(of @ ("of-node" | "of-ledger" | "of-cosigner" | "of-authority")) => {
                let key = match of {
                    "of-node" => node_key(1),
                    "of-ledger" => key("ledger"),
                    "of-cosigner" => key("cosigner 1"),
                    _ => key("issuing own 1"),
                };
                (operator.public_key, operator.key_id) = (key.public().0.to_vec(), key.public().id().to_vec());
            }
            Some("other-id") => operator.key_id = vec![0; 16],
            Some("suite-2") => operator.suite = 2,
            Some("certificate") => operator.certificate_digest = vec![1; 32],
            Some("no-person") => operator.person_tag.clear(),
            _ => {}
        }
        self.world.people.entry(name.to_owned()).or_insert_with(|| person(name, &unit, posts_ref.first().copied().unwrap_or_default()));
        Ok(Of::AddOperator(AddOperator { operator: Some(operator) }))
    }

    /// `unit`, or `unit:area`.
    fn implementations(&self, names: Option<&str>) -> Vec<Implementation> {
        let implementation = |name: &String| {
            let (unit, area) = name.split_once(':').unwrap_or((name, ""));
            Implementation { unit: self.unit(unit), area: area.into(), ..Default::default() }
        };
        list(names).iter().map(implementation).collect()
    }

    fn publish(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<Of, Box<dyn Error>> {
        let number = args.next_pos().ok_or("which type?")?.parse()?;
        let sharing = match args.take_key("sharing").unwrap_or("unconditional") {
            "unconditional" => Sharing::Unconditional,
            "conditional" => Sharing::Conditional,
            "none" => Sharing::None,
            _ => Sharing::Unspecified,
        };
        let mut t: LicenceType = licence_type(number, sharing);
        t.version = args.take_key("version").map_or(Ok(1), str::parse)?;
        t.validity_years = args.take_key("years").map_or(Ok(0), str::parse)?;
        t.retention_years = args.take_key("retention").map_or(Ok(20), str::parse)?;
        if let Some(types) = args.take_key("holder-types") {
            t.holder_code_types = list(Some(types));
        }
        if args.take_key("identifier") == Some("personal") {
            t.identifier_class = IdentifierClass::Personal as i32;
        }
        if let Some(decision) = &mut t.sharing {
            decision.scope = list(args.take_key("scope")).iter().map(|u| self.unit(u)).collect();
            decision.modes = list(args.take_key("modes"));
            match args.take_key("law") {
                Some("none") => decision.legal_basis.clear(),
                Some("blank") => decision.legal_basis = "\u{3164}".into(),
                _ => {}
            }
        }
        if let Some(fields) = args.take_key("fields") {
            t.fields = list(Some(fields)).iter().map(|f| super::licences::field(f, vermilion_proto::FieldClass::Public, false)).collect();
            t.base_fields.clear();
        }
        match args.take_key("broken") {
            Some("kind") => t.kind = "许可".into(),
            Some("name") => t.name_zh.insert(0, '\u{202e}'),
            Some("blank") => t.name_zh = "\u{3000} ".into(),
            Some("100") => t.name_zh = "名".repeat(100),
            Some("101") => t.name_zh = "名".repeat(101),
            Some("spaced") => t.name_zh.push_str("\u{3000}样例"),
            Some("schema") => t.content_schema = "[1".into(),
            Some("code") => t.code = format!("{CITY}0001"),
            Some("field") => t.fields.push(t.fields[0].clone()),
            Some("base-field") => t.base_fields[0].name = "certificateColour".into(),
            Some("own-field") => t.fields[0].name = "certificateName".into(),
            Some("fields") => {
                let one = t.fields[0].clone();
                t.fields = (0..65).map(|n| vermilion_proto::FieldRule { name: format!("f{n}"), ..one.clone() }).collect();
            }
            Some("authority") => t.defining_authority = "11440300MB2C94128A".into(),
            _ => {}
        }
        let implementations = self.implementations(args.take_key("issuers"));
        Ok(Of::PublishType(PublishType { r#type: Some(t), implementations }))
    }

    /// Rows: `serial`, `serial@version`, and behind `/` what is wrong with the row.
    fn items(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<Vec<LicenceItem>, Box<dyn Error>> {
        let number = args.take_key("type").map_or(Ok(1), str::parse)?;
        let authority = self.unit(args.take_key("authority").unwrap_or("health"));
        let type_version = args.take_key("type-version").map_or(Ok(1), str::parse)?;
        let origin = match args.take_key("origin") {
            Some("stock") => Origin::Stock,
            Some("paper") => Origin::Paper,
            _ => Origin::New,
        };
        let is_personal = args.take_key("identifier") == Some("personal");
        let because = args.take_key("because").unwrap_or_default().to_owned();
        let holders = list(args.take_key("holders"));
        let area = args.take_key("area");
        let holder_type = args.take_key("holder-type");
        let term: Option<u32> = args.take_key("term-days").map(str::parse).transpose()?;
        let issued: Option<i32> = args.take_key("issued-days-ago").map(str::parse).transpose()?;
        let mut out = Vec::new();
        while let Some(row) = args.next_pos() {
            let (name, fault) = row.split_once('/').unwrap_or((row, ""));
            let (serial, version) = name.split_once('@').unwrap_or((name, "1"));
            let version: u16 = version.parse()?;
            let mut item = item(number, &authority, serial, version);
            item.type_version = type_version;
            item.superseded_because.clone_from(&because);
            if let Some(ago) = issued {
                item.issued_on = days::of(self.world.now).saturating_add_signed(-ago);
                (item.decided_on, item.effective_from, item.expires_on) = (item.issued_on, item.issued_on, item.issued_on + 300);
            }
            if let Some(term) = term {
                item.expires_on = item.effective_from + term;
            }
            if let Some(area) = area {
                item.area = area.into();
            }
            if !holders.is_empty() {
                item.holders = holders.iter().map(|h| holder(h)).collect();
            }
            for holder in &mut item.holders {
                holder.code_type = holder_type.unwrap_or(&holder.code_type).to_owned();
            }
            if let Some(p) = &mut item.provenance {
                p.origin = origin as i32;
            }
            if !because.is_empty() {
                let before = super::licences::item(number, &authority, serial, version - 1);
                item.previous = if is_personal { hex::encode(&personal(before).identifier_tag) } else { before.identifier };
            }
            if is_personal {
                item = personal(item);
            }
            break_item(&mut item, fault)?;
            out.push(item);
        }
        Ok(out)
    }

    /// Identifier and tag of a licence named `serial`, `serial@version` or `tag/serial`.
    fn reference(&self, name: &str) -> (String, Vec<u8>) {
        let Some(name) = name.strip_prefix("tag/") else {
            let key = if name.contains('@') { name.to_owned() } else { format!("{name}@1") };
            return (self.licences.get(&key).map_or_else(|| name.to_owned(), |i| i.identifier.clone()), vec![]);
        };
        let (serial, version) = name.split_once('@').unwrap_or((name, "1"));
        (String::new(), personal(item(2, &self.unit("health"), serial, version.parse().unwrap())).identifier_tag)
    }

    fn named(&self, name: &str) -> Result<Named, Box<dyn Error>> {
        let (identifier, tag) = self.reference(name);
        match <[u8; 32]>::try_from(tag) {
            Ok(tag) => Ok(query::of_tag(&self.world.kv, &tag)?.ok_or("no such tag")?),
            Err(_) => Ok(of_identifier(&identifier).ok_or("no such identifier")?),
        }
    }

    fn use_of(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<Use, Box<dyn Error>> {
        let mut body = Use {
            act: match args.take_key("act") {
                Some("verify") => Act::Verify,
                Some("consult") => Act::Consult,
                Some("?") => Act::Unspecified,
                _ => Act::Use,
            } as i32,
            mode: if args.take_key("mode") == Some("interface") { Mode::Interface } else { Mode::Manual } as i32,
            authority: match args.take_key("authority") {
                Some("present") => Authority::HolderPresent,
                Some("entrusted") => Authority::Entrusted,
                _ => Authority::ByFunction,
            } as i32,
            service_item: args.take_key("item").unwrap_or("opening an account").into(),
            case_digest: if args.take_key("case") == Some("none") { vec![] } else { vec![1; 32] },
            purpose_digest: if args.take_key("purpose") == Some("none") { vec![] } else { vec![1; 32] },
            consent_id: args.take_key("consent").unwrap_or_default().into(),
            fields: list(args.take_key("fields")),
            recipient_key: match args.take_key("key") {
                Some("none") => vec![],
                Some("zero") => vec![0; 32],
                _ => vec![1; 32],
            },
            delivery: if args.take_key("delivery") == Some("archive") { Delivery::ArchiveCopy } else { Delivery::Data } as i32,
            ..Default::default()
        };
        if let Some(name) = args.take_key("holder") {
            body.holder_tag = holder(name).tag;
        }
        while let Some(name) = args.next_pos() {
            let (identifier, tag) = self.reference(name);
            body.licences.push(LicenceRef { identifier, tag });
        }
        Ok(body)
    }

    fn time(&mut self, args: &mut ArgumentConsumer<'_>) -> Answer {
        let days: u64 = args.take_key("days").ok_or("how many days?")?.parse()?;
        self.world.now += days * DAY;
        Ok(String::new())
    }

    fn status(&mut self, args: &mut ArgumentConsumer<'_>) -> Answer {
        let named = self.named(args.next_pos().unwrap_or_default())?;
        // By the clock of a node that is asked so many days after the last record.
        let later: u64 = args.take_key("later").map_or(Ok(0), str::parse)?;
        let now = self.world.now + later * DAY;
        let is_public = args.take_key("public").is_some();
        let a = query::status(&self.world.kv, &named, now)?;
        let a = if is_public { query::public(a) } else { a };
        if a.state.is_empty() {
            return Ok(format!("verify {}: no such licence", a.verify_code));
        }
        let state = State::from_name(&a.state).ok_or("state")?;
        let national = match a.shown.as_str() {
            "expired" => Shown::Expired,
            "not-yet-effective" => Shown::NotYetEffective,
            _ => Shown::State(state),
        }
        .national_code();
        let flags: Vec<String> = a.flags.iter().map(|f| format!(" +{f} {}", Flag::from_name(f).map_or("", Flag::chinese))).collect();
        Ok(format!(
            "verify {}: {} ({} {}, national code {}){}",
            a.verify_code,
            a.shown,
            state.name(),
            state.chinese(),
            national,
            flags.concat()
        ))
    }

    fn history(&mut self, args: &mut ArgumentConsumer<'_>) -> Answer {
        let named = self.named(args.next_pos().unwrap_or_default())?;
        let day = |ms: u64| (ms as i64 - START as i64).div_euclid(DAY as i64);
        let mut out = String::new();
        for c in query::history(&self.world.kv, &named)? {
            let state = State::from_number(c.state).map_or("?", State::name);
            let flags: String = Flag::in_set(c.flags).map(|f| format!(" +{}", f.name())).collect();
            writeln!(
                out,
                "recorded day {}, effective day {}: {state}{flags} ({})",
                day(c.recorded_ms),
                day(c.effective_ms),
                if c.reason.is_empty() { "issued" } else { &c.reason }
            )?;
        }
        Ok(out)
    }

    fn at(&mut self, args: &mut ArgumentConsumer<'_>) -> Answer {
        let named = self.named(args.next_pos().unwrap_or_default())?;
        let mut day =
            |k: &str| args.take_key(k).ok_or("day")?.parse::<u64>().map(|d| START + d * DAY + DAY / 2).map_err(Box::<dyn Error>::from);
        let (at, known) = (day("day")?, day("known")?);
        let a = query::status_at(&self.world.kv, &named, at, known, self.world.now)?;
        let Some(shown) = Shown::from_name(&a.shown) else { return Ok("not in the ledger yet".into()) };
        let flags: String = a.flags.iter().map(|f| format!(" +{f}")).collect();
        let next = if a.superseded_by.is_empty() { "" } else { ", by a later version" };
        Ok(format!("{} {}{flags}{next}", shown.name(), shown.chinese()))
    }

    fn search(&mut self, args: &mut ArgumentConsumer<'_>) -> Answer {
        let body = self.use_of(args)?;
        let unit = query::unit(&self.world.kv, &self.unit(args.take_key("in").unwrap_or("bank")))?.and_then(|u| u.unit).ok_or("unit")?;
        let limit = args.take_key("limit").map_or(Ok(100), str::parse)?;
        let found = query::search(&self.world.kv, &unit, &body, u64::MAX, limit)?;
        let listed: String = found.licences.iter().map(|(s, l)| format!("{s} version {}\n", l.version)).collect();
        Ok(listed + if found.more { "and more\n" } else { "" })
    }
}

fn set_policy(args: &mut ArgumentConsumer<'_>) -> Result<Of, Box<dyn Error>> {
    let citation = args.take_key("citation").unwrap_or("002-6").to_owned();
    let from: Option<u64> = args.take_key("from-day").map(str::parse).transpose()?;
    let effective_from_ms = from.map_or(0, |d| START + d * DAY);
    let mut entries = Vec::new();
    while let Some((key, value)) = args.next_key() {
        entries.push(PolicyEntry {
            key: key.into(),
            value: value.into(),
            citation: citation.clone(),
            profile: String::new(),
            effective_from_ms,
        });
    }
    Ok(Of::SetPolicy(SetPolicy { entries }))
}

pub fn list(text: Option<&str>) -> Vec<String> {
    text.filter(|t| !t.is_empty()).map(|t| t.split(',').map(str::to_owned).collect()).unwrap_or_default()
}

/// A reason in both languages.
pub fn told_reason(code: u32) -> String {
    Reason::from_number(code).map_or_else(|| code.to_string(), |r| format!("{}: {} {}", r.name(), r.chinese(), r.english()))
}

/// What became of a command, as an import report would say it.
fn told(record: &NewRecord, items: &[LicenceItem]) -> String {
    let outcome = &record.outcome;
    let reason = told_reason;
    let mut out = match outcome.code {
        0 => format!("record {}: accepted", record.seq),
        code => format!("record {}: refused {}", record.seq, reason(code)),
    };
    if let Some(refusal) = record.refusal.as_ref().filter(|r| r.detail != r.reason.english()) {
        write!(out, " [{}]", refusal.detail).unwrap();
    }
    if let Some(first) = outcome.first_status_index {
        write!(out, ", {} of {} licences, first status index {first}", record.kept_positions.len(), items.len()).unwrap();
    } else if !outcome.refused.is_empty() {
        write!(out, ", none of {} licences", items.len()).unwrap();
    }
    for refused in &outcome.refused {
        write!(out, "\n  row {}: refused {}", refused.position, reason(refused.code)).unwrap();
    }
    for warning in &outcome.warnings {
        write!(out, "\n  row {}: warning {}", warning.position, reason(warning.code)).unwrap();
    }
    if !outcome.granted.is_empty() {
        write!(out, "\n  granted: {}", outcome.granted.join(", ")).unwrap();
    }
    for withheld in &outcome.withheld {
        write!(out, "\n  {}: withheld {}", withheld.field, reason(withheld.code)).unwrap();
    }
    out
}
