//! `vermilion type …` and `vermilion policy …`

use super::Context;
use super::issuers::{self, IssuersArgs};
use super::operators::moment;
use super::output::{recorded_json, table};
use crate::client::Client;
use crate::clock::{now_ms, show_ms};
use crate::error::{ClientError, Exit};
use crate::manage::{Published, Unlisted};
use crate::visible::one_line;
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::PathBuf;
use vermilion_proto::{FieldRule, Implementation, PolicyEntry, TypeState, Unit, UnitState};
use vermilion_registry::authority::{ISSUING, MANAGING_CITY, has_role};
use vermilion_registry::content::{CatalogueEntry, Word as _, types_from_catalogue};
use vermilion_registry::policy::PROFILE;
use vermilion_registry::reason::Reason;

#[derive(Subcommand, Debug)]
pub enum TypeVerb {
    /// Publish the types of a catalogue file: new ones, and the next version of changed ones
    #[command(after_help = "Example:\n  \
        vermilion type publish --file catalogue.json\n\n\
        Types that stand in the ledger unchanged are left as they are, and so are\n\
        issuers that the file does not name: a district may have added them.")]
    Publish {
        /// The catalogue, a JSON list
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
        /// Only the type of this code
        #[arg(long)]
        only: Option<String>,
        /// Take issuers out that the file does not name
        #[arg(long)]
        only_these: bool,
        /// The managing unit that acts; the first whose keys are here if not given
        #[arg(long, value_name = "USCC")]
        by: Option<String>,
    },
    /// Say which units issue a type: a district of its own, the city of all
    Issuers(IssuersArgs),
    /// Show one type
    #[command(after_help = "Example:\n  vermilion type show 11440300MB0X00019K003")]
    Show {
        /// The type's code
        code: String,
    },
    /// List all types
    #[command(after_help = "Example:\n  vermilion type list --json")]
    List,
}

#[derive(Subcommand, Debug)]
pub enum PolicyVerb {
    /// List every entry
    #[command(after_help = "Example:\n  vermilion policy list --json")]
    List,
    /// Set one entry, signed by the city's managing unit
    #[command(after_help = "Example:\n  vermilion policy set issue.items.max 500 --citation 002-10")]
    Set {
        /// The key
        key: String,
        /// The value
        value: String,
        /// The article that it rests on
        #[arg(long)]
        citation: String,
        /// In force from; now if not given
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// The managing unit that acts; the first whose keys are here if not given
        #[arg(long, value_name = "USCC")]
        by: Option<String>,
    },
}

pub async fn run_type(context: &Context, verb: TypeVerb) -> Result<Exit, ClientError> {
    let client = context.client()?;
    match verb {
        TypeVerb::Publish { file, only, only_these, by } => {
            let text = std::fs::read_to_string(&file).map_err(|e| ClientError::file(&file, e))?;
            let mut entries = types_from_catalogue(&text)?;
            entries.retain(|e| only.as_ref().is_none_or(|code| e.licence_type.code == *code));
            if entries.is_empty() {
                return Err(ClientError::Usage("the catalogue has no such type".into()));
            }
            let by = match by {
                Some(by) => by,
                None => client.manager().await?,
            };
            let unlisted = if only_these { Unlisted::Go } else { Unlisted::Stay };
            return publish(context, &client, &by, &entries, unlisted).await;
        }
        TypeVerb::Issuers(args) => return issuers::run(context, args).await,
        TypeVerb::Show { code } => {
            let state = client.licence_type(&code).await?.ok_or(Reason::UnknownType)?;
            context.out.answer(&type_json(&state, true), || type_text(&state));
        }
        TypeVerb::List => {
            let types = client.types().await?;
            context.out.answer(&Value::Array(types.states().map(|s| type_json(s, false)).collect()), || {
                let row = |s: &TypeState| {
                    let of = s.r#type.clone().unwrap_or_default();
                    vec![
                        of.code,
                        of.name_zh,
                        of.kind,
                        of.version.to_string(),
                        s.implementations.iter().map(|i| i.unit.as_str()).collect::<Vec<_>>().join(","),
                    ]
                };
                table(
                    &["编码 code", "名称 name", "类别 kind", "版本 version", "签发单位 issuers"],
                    &types.states().map(row).collect::<Vec<_>>(),
                )
            });
        }
    }
    Ok(Exit::Yes)
}

/// Publishes one type after the other, up to the first that is not taken, and says of each what became of it.
async fn publish(
    context: &Context,
    client: &Client,
    by: &str,
    entries: &[CatalogueEntry],
    unlisted: Unlisted,
) -> Result<Exit, ClientError> {
    let mut answers = Vec::with_capacity(entries.len());
    let mut failed = None;
    for entry in entries {
        let of = &entry.licence_type;
        let mut answer = json!({ "code": of.code, "name": of.name_zh, "version": Value::Null, "record": Value::Null });
        let said = match client.publish(by, entry, unlisted).await {
            Ok(Published::Now(version, recorded)) => {
                (answer["version"], answer["record"]) = (version.into(), recorded_json(&recorded));
                format!("版本 version {version}  已发布 published")
            }
            Ok(Published::Before(version)) => {
                answer["version"] = version.into();
                format!("版本 version {version}  未变 unchanged")
            }
            Err(error) => {
                let error = of_type(client, by, entry, error).await;
                (answer["error"], answer["message"]) = (error.code().into(), error.to_string().into());
                failed = Some(error);
                "未发布 not published".to_owned()
            }
        };
        if !context.out.json {
            context.out.line(&format!("{}  {}  {said}", one_line(&of.code), one_line(&of.name_zh)));
        }
        answers.push(answer);
        if failed.is_some() {
            break;
        }
    }
    if context.out.json {
        context.out.line(&Value::Array(answers).to_string());
    }
    failed.map_or(Ok(Exit::Yes), Err)
}

/// The refusal of a type, with its code and the units that it is about: a record has the reason alone.
async fn of_type(client: &Client, by: &str, entry: &CatalogueEntry, error: ClientError) -> ClientError {
    let mut what = format!("type {}", entry.licence_type.code);
    if let Some(reason @ (Reason::UnknownUnit | Reason::UnitRole)) = error.refusal().map(|refusal| refusal.reason)
        && let Ok(known) = client.units().await
    {
        let issuers: Vec<&str> = entry.issuers.iter().map(|of| of.unit.as_str()).collect();
        what += &amiss(reason, by, &issuers, &known);
    }
    error.about(&what)
}

/// Which of a type's issuers are not registered, or do not issue; else it is who publishes.
fn amiss(reason: Reason, by: &str, issuers: &[&str], known: &[UnitState]) -> String {
    let unit = |uscc: &str| known.iter().filter_map(|state| state.unit.as_ref()).find(|unit| unit.uscc == uscc);
    let (fits, word): (fn(&Unit) -> bool, &str) = match reason {
        Reason::UnitRole => (|unit| has_role(unit, ISSUING), "no issuing-unit"),
        _ => (|_| true, "register first"),
    };
    let amiss: Vec<&str> = issuers.iter().copied().filter(|uscc| !unit(uscc).is_some_and(fits)).collect();
    match amiss.as_slice() {
        [] if reason == Reason::UnitRole => format!(", published by {by}, which is not {MANAGING_CITY}"),
        [] => String::new(),
        amiss => format!(", {word}: {}", amiss.join(", ")),
    }
}

/// A type for scripts, its schema and fields only when it is shown alone.
fn type_json(state: &TypeState, whole: bool) -> Value {
    let of = state.r#type.clone().unwrap_or_default();
    let mut out = json!({
        "code": of.code, "version": of.version, "name": of.name_zh, "name_en": of.name_en, "kind": of.kind,
        "identifier_class": of.identifier_class().word(), "public_status": of.public_status().word(),
        "issuers": state.implementations.iter().map(|i| &i.unit).collect::<Vec<_>>(), "published_seq": state.published_seq,
    });
    if whole && let Some(members) = out.as_object_mut() {
        let fields = of.base_fields.iter().chain(&of.fields);
        let fields: Vec<Value> =
            fields.map(|f| json!({ "name": f.name, "class": f.class().word(), "disclosed_by_default": f.disclosed_by_default })).collect();
        let issuer = |i: &Implementation| json!({ "unit": i.unit, "area": i.area, "own_code": i.own_code, "seal_id": i.seal_id });
        members.insert("implementations".into(), state.implementations.iter().map(issuer).collect());
        members.insert("defining_authority".into(), json!(of.defining_authority));
        members.insert("defining_level".into(), json!(of.defining_level));
        members.insert("application_scope".into(), json!(of.application_scope));
        members.insert("face_template".into(), json!(of.face_template));
        members.insert("service_items".into(), json!(of.service_items));
        members.insert("holder_categories".into(), json!(of.holder_categories));
        members.insert("fields".into(), Value::Array(fields));
        members.insert("holder_code_types".into(), json!(of.holder_code_types));
        members.insert("validity_years".into(), json!(of.validity_years));
        members.insert("retention_years".into(), json!(of.retention_years));
        if let Some(sharing) = &of.sharing {
            let decision = json!({ "sharing": sharing.sharing().word(), "legal_basis": sharing.legal_basis, "scope": sharing.scope, "modes": sharing.modes });
            members.insert("sharing".into(), decision);
        }
        members.insert("schema".into(), serde_json::from_str(&of.content_schema).unwrap_or(Value::Null));
    }
    out
}

/// A type for people; what the directory does not say of it is left out.
fn type_text(state: &TypeState) -> String {
    let of = state.r#type.clone().unwrap_or_default();
    let mut out = format!("{}  {} {}\n", one_line(&of.code), one_line(&of.name_zh), one_line(&of.name_en));
    let (version, record) = (of.version, state.published_seq);
    out += &format!("  版本 version             {version} (record {record})\n");
    let years = |years: u32| if years == 0 { String::new() } else { years.to_string() };
    let sharing = of.sharing.clone().unwrap_or_default();
    for (label, said) in [
        ("证照种类 kind            ", of.kind.clone()),
        ("定义机构 defined by      ", [of.defining_authority.as_str(), of.defining_level.as_str()].join(" ")),
        ("应用范围 scope           ", of.application_scope.clone()),
        ("照面模板 face template   ", of.face_template.clone()),
        ("关联事项 service items   ", of.service_items.join(", ")),
        ("持证主体类别 holders     ", of.holder_categories.join(", ")),
        ("主体代码类型 code types  ", of.holder_code_types.join(", ")),
        ("标识类别 identifiers     ", of.identifier_class().word().to_owned()),
        ("状态公开 public status   ", of.public_status().word().to_owned()),
        ("共享方式 sharing         ", [sharing.sharing().word(), sharing.legal_basis.as_str()].join(" ")),
        ("共享范围 shared with     ", sharing.scope.iter().chain(&sharing.modes).cloned().collect::<Vec<_>>().join(", ")),
        ("有效期限 years of term   ", years(of.validity_years)),
        ("保管期限 years kept      ", years(of.retention_years)),
    ] {
        if !said.trim().is_empty() {
            out += &format!("  {label} {}\n", one_line(said.trim()));
        }
    }
    let issuer = |i: &Implementation| vec![i.unit.clone(), i.area.clone(), i.own_code.clone(), i.seal_id.clone()];
    let issuers: Vec<_> = state.implementations.iter().map(issuer).collect();
    out += &table(&["签发单位 issuer", "区划 area", "目录实施码 own code", "印章 seal"], &issuers);
    let field = |f: &FieldRule| {
        let by_default = if f.disclosed_by_default { "默认提供 by default" } else { "" };
        vec![f.name.clone(), f.class().word().to_owned(), by_default.to_owned()]
    };
    let fields: Vec<_> = of.base_fields.iter().chain(&of.fields).map(field).collect();
    out += "\n";
    out += &table(&["证照属性 field", "分类 class", "披露 disclosed"], &fields);
    let schema: Value = serde_json::from_str(&of.content_schema).unwrap_or_default();
    out + &format!("\n技术规格 schema  {}\n", one_line(&schema.to_string()))
}

pub async fn run_policy(context: &Context, verb: PolicyVerb) -> Result<Exit, ClientError> {
    let client = context.client()?;
    match verb {
        PolicyVerb::List => {
            let entries = client.policy().await?;
            let one = |e: &PolicyEntry| json!({ "key": e.key, "value": e.value, "citation": e.citation, "profile": e.profile, "from": show_ms(e.effective_from_ms) });
            context.out.answer(&Value::Array(entries.iter().map(one).collect()), || {
                let row = |e: &PolicyEntry| vec![e.key.clone(), e.value.clone(), e.citation.clone(), show_ms(e.effective_from_ms)];
                table(&["键 key", "值 value", "依据 citation", "起 from"], &entries.iter().map(row).collect::<Vec<_>>())
            });
            Ok(Exit::Yes)
        }
        PolicyVerb::Set { key, value, citation, from, by } => {
            let by = match by {
                Some(by) => by,
                None => client.manager().await?,
            };
            let effective_from_ms = if from.is_some() { moment(from.as_deref())? } else { now_ms() };
            let entry = PolicyEntry { key, value, citation, profile: PROFILE.to_owned(), effective_from_ms };
            let said = format!("{} = {}", entry.key, entry.value);
            let recorded = client.set_policy(&by, vec![entry]).await.map_err(|error| not_set(error, &said))?;
            Ok(context.out.recorded("已设定 set", &recorded))
        }
    }
}

/// A refused entry, with what to do first: a record has the reason alone.
fn not_set(error: ClientError, said: &str) -> ClientError {
    let why = match error.refusal().map(|refusal| refusal.reason) {
        Some(Reason::LastOperators) => {
            "who must admit operators and set policy are different people of the city's managing unit, each with a key in force, and in administration with a second one: admit those people first"
        }
        Some(Reason::PolicyValue) => "see the bounds in docs/formats.md; one command carries 8 signatures, second keys counted",
        _ => return error.about(said),
    };
    error.about(&format!("{said}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vermilion_proto::{FieldClass, IdentifierClass, LicenceType, PublicStatus, Sharing, SharingDecision};

    #[test]
    fn a_policy_that_would_lock_everybody_out_says_what_to_do_first() {
        let refused = |reason: Reason| not_set(reason.into(), "posts.set-policy = auditor").to_string();
        assert!(
            refused(Reason::LastOperators).contains("posts.set-policy = auditor: ") && refused(Reason::LastOperators).contains("first")
        );
        assert!(refused(Reason::PolicyValue).contains("8 signatures"));
        assert!(!refused(Reason::UnknownPolicy).contains("signatures"));
    }

    #[test]
    fn a_refused_type_names_the_units_that_it_is_about() {
        let state = |uscc: &str, role: &str| UnitState {
            unit: Some(Unit { uscc: uscc.into(), roles: vec![role.into()], ..Unit::default() }),
            ..UnitState::default()
        };
        let known = [state("CITY", MANAGING_CITY), state("HEALTH", ISSUING)];
        let said = |reason, by: &str, issuers: &[&str]| amiss(reason, by, issuers, &known);
        assert_eq!(said(Reason::UnknownUnit, "CITY", &["HEALTH", "X", "Y"]), ", register first: X, Y");
        assert_eq!(said(Reason::UnitRole, "CITY", &["HEALTH", "CITY"]), ", no issuing-unit: CITY");
        assert_eq!(said(Reason::UnitRole, "HEALTH", &["HEALTH"]), ", published by HEALTH, which is not managing-unit-city");
    }

    #[test]
    fn a_type_is_shown_with_what_the_directory_says_of_it() {
        let of = LicenceType {
            code: "C".into(),
            application_scope: "全国通用\n  状态 forged".into(),
            face_template: "T1".into(),
            service_items: vec!["s1".into(), "s2".into()],
            content_schema: "{}".into(),
            identifier_class: IdentifierClass::Personal.into(),
            public_status: PublicStatus::Challenge.into(),
            fields: vec![FieldRule { name: "site".into(), class: FieldClass::Government.into(), ..FieldRule::default() }],
            sharing: Some(SharingDecision { sharing: Sharing::Conditional.into(), ..SharingDecision::default() }),
            ..LicenceType::default()
        };
        let implementations = vec![Implementation { unit: "u".into(), area: "440305".into(), own_code: "K1".into(), seal_id: "S1".into() }];
        let state = TypeState { r#type: Some(of), implementations, published_seq: 7 };
        let (text, value) = (type_text(&state), type_json(&state, true));
        for said in ["应用范围 scope", "全国通用", "face template", "T1", "s1, s2", "440305", "K1", "S1", "(record 7)"] {
            assert!(text.contains(said), "{said} is not in {text}");
        }
        assert!(!text.contains("持证主体类别") && !text.lines().any(|line| line == "  状态 forged"));
        assert_eq!(
            (&value["application_scope"], &value["implementations"][0]["seal_id"]),
            (&"全国通用\n  状态 forged".into(), &"S1".into())
        );
        // With the words of a catalogue file, as over REST.
        for said in ["personal", "challenge", "government", "conditional"] {
            assert!(text.contains(said) && !text.contains("_CLASS_"), "{said} is not in {text}");
        }
        let words = [&value["identifier_class"], &value["public_status"], &value["fields"][0]["class"], &value["sharing"]["sharing"]];
        assert_eq!(words, ["personal", "challenge", "government", "conditional"]);
    }
}
