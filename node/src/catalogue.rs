//! The directory of licence types (证照目录) over REST: open to whoever may use licences (002-14 ¶2), which is
//! everybody, as over gRPC.

use crate::answers::internal;
use crate::node::Node;
use crate::rest::{Problem, certificate, problem};
use crate::tls::Caller;
use axum::extract::{ConnectInfo, Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use utoipa::ToSchema;
use vermilion_proto::{FieldRule, Implementation, LicenceType, TypeState};
use vermilion_registry::authorisation::Question;
use vermilion_registry::content::Word as _;
use vermilion_registry::query;
use vermilion_registry::reason::{Reason, Refusal};

/// A type in the list.
#[derive(Serialize, ToSchema)]
pub struct TypeEntry {
    /// USCC of the defining authority and three digits.
    code: String,
    /// The current version.
    version: u32,
    /// The name in Chinese.
    name_zh: String,
    /// The name in English, if it has one.
    name_en: String,
    /// One of the seven kinds of 002-3.
    kind: String,
    /// Whether anybody may ask for a licence's status: `closed`, `challenge` or `open`.
    public_status: String,
    /// Which units issue it.
    issuers: Vec<Issuer>,
}

/// A unit that issues a type (目录实施).
#[derive(Serialize, ToSchema)]
pub struct Issuer {
    /// USCC.
    unit: String,
    /// The area for which it issues; empty: its own.
    area: String,
    /// The type's code in its own directory.
    own_code: String,
    /// The seal that it uses.
    seal_id: String,
}

/// A type with all that the directory says of it.
#[derive(Serialize, ToSchema)]
pub struct TypeDetails {
    #[serde(flatten)]
    entry: TypeEntry,
    /// USCC of the defining authority.
    defining_authority: String,
    /// Its level.
    defining_level: String,
    /// What it is good for (应用范围).
    application_scope: String,
    /// The template of its face (照面模板).
    face_template: String,
    /// Codes of the service items that it belongs to.
    service_items: Vec<String>,
    /// Who may hold it.
    holder_categories: Vec<String>,
    /// Code types of its holders, GB/T 36903 Annex A.
    holder_code_types: Vec<String>,
    /// `public` or `personal`.
    identifier_class: String,
    /// The longest term in years; 0: none.
    validity_years: u32,
    /// For how many years it is kept.
    retention_years: u32,
    /// How it is shared (002-13).
    sharing: SharingDetails,
    /// The base fields and the type's own, each with its class.
    fields: Vec<Field>,
    /// JSON Schema of the type's own fields.
    #[schema(value_type = Object)]
    schema: Value,
}

/// The decision on sharing.
#[derive(Serialize, ToSchema)]
pub struct SharingDetails {
    /// `unconditional`, `conditional` or `none`.
    sharing: String,
    /// What a restriction rests on.
    legal_basis: String,
    /// USCCs or roles that may use.
    scope: Vec<String>,
    /// `manual`, `interface`; none: both.
    modes: Vec<String>,
}

/// A field of a type.
#[derive(Serialize, ToSchema)]
pub struct Field {
    /// Its name.
    name: String,
    /// `public`, `government`, `commercial`, `personal` or `sensitive`.
    class: String,
    /// Whether a use that names no fields is given it.
    disclosed_by_default: bool,
}

fn entry(of: &LicenceType, implementations: Vec<Implementation>) -> TypeEntry {
    let issuer = |i: Implementation| Issuer { unit: i.unit, area: i.area, own_code: i.own_code, seal_id: i.seal_id };
    TypeEntry {
        code: of.code.clone(),
        version: of.version,
        name_zh: of.name_zh.clone(),
        name_en: of.name_en.clone(),
        kind: of.kind.clone(),
        public_status: of.public_status().word().to_owned(),
        issuers: implementations.into_iter().map(issuer).collect(),
    }
}

fn details(state: TypeState) -> TypeDetails {
    let of = state.r#type.unwrap_or_default();
    let entry = entry(&of, state.implementations);
    let field = |rule: &FieldRule| Field {
        name: rule.name.clone(),
        class: rule.class().word().to_owned(),
        disclosed_by_default: rule.disclosed_by_default,
    };
    let fields = of.base_fields.iter().chain(&of.fields).map(field).collect();
    let identifier_class = of.identifier_class().word().to_owned();
    let decision = of.sharing.unwrap_or_default();
    TypeDetails {
        entry,
        fields,
        identifier_class,
        schema: serde_json::from_str(&of.content_schema).unwrap_or_default(),
        defining_authority: of.defining_authority,
        defining_level: of.defining_level,
        application_scope: of.application_scope,
        face_template: of.face_template,
        service_items: of.service_items,
        holder_categories: of.holder_categories,
        holder_code_types: of.holder_code_types,
        validity_years: of.validity_years,
        retention_years: of.retention_years,
        sharing: SharingDetails {
            sharing: decision.sharing().word().to_owned(),
            legal_basis: decision.legal_basis,
            scope: decision.scope,
            modes: decision.modes,
        },
    }
}

/// Who asks as over gRPC, and the state as new as now.
async fn asked(node: &Node, caller: Option<Extension<ConnectInfo<Caller>>>) -> Result<(), Refusal> {
    let certificate = certificate(caller);
    node.asker(None, "query", certificate.as_deref()).and_then(|asker| node.allow(&asker, Question::Types, None))?;
    node.read_barrier().await
}

/// The directory: every type in its current version.
#[utoipa::path(get, path = "/v1/types", responses((status = 200, body = Vec<TypeEntry>), (status = 503, body = Problem)))]
pub async fn types(State(node): State<Arc<Node>>, caller: Option<Extension<ConnectInfo<Caller>>>) -> Response {
    let found = asked(&node, caller).await.and_then(|()| query::types(&node.store.state_snapshot()).map_err(|e| internal(&e)));
    match found {
        Ok(states) => {
            let listed = |state: TypeState| state.r#type.map(|of| entry(&of, state.implementations));
            Json(states.into_iter().filter_map(listed).collect::<Vec<_>>()).into_response()
        }
        Err(refusal) => problem(&refusal),
    }
}

/// One type in its current version, with schema and fields.
#[utoipa::path(get, path = "/v1/types/{code}", params(("code" = String, Path, description = "the type's code")),
    responses((status = 200, body = TypeDetails), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub async fn one_type(State(node): State<Arc<Node>>, Path(code): Path<String>, caller: Option<Extension<ConnectInfo<Caller>>>) -> Response {
    let find = |()| query::licence_type(&node.store.state_snapshot(), &code, None).map_err(|e| internal(&e));
    match asked(&node, caller).await.and_then(find) {
        Ok(Some(state)) => Json(details(state)).into_response(),
        Ok(None) => problem(&Reason::UnknownType.into()),
        Err(refusal) => problem(&refusal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vermilion_proto::{FieldClass, PublicStatus, Sharing, SharingDecision};

    #[test]
    fn words_are_those_of_a_catalogue_file() {
        let of = LicenceType {
            public_status: PublicStatus::Challenge.into(),
            fields: vec![FieldRule { name: "site".into(), class: FieldClass::Government.into(), ..FieldRule::default() }],
            sharing: Some(SharingDecision { sharing: Sharing::Conditional.into(), ..SharingDecision::default() }),
            content_schema: "{}".into(),
            ..LicenceType::default()
        };
        let shown = details(TypeState { r#type: Some(of), ..TypeState::default() });
        let value = serde_json::to_value(&shown).unwrap_or_default();
        assert_eq!((&value["public_status"], &value["fields"][0]["class"]), (&"challenge".into(), &"government".into()));
        assert_eq!((&value["sharing"]["sharing"], &value["schema"]), (&"conditional".into(), &serde_json::json!({})));
    }
}
