//! Every reason for which something is refused, or taken with a warning. Numbers and names are
//! stable: records carry the numbers, reports and scripts the names.

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $zh:literal, $en:literal;)*) => {
        /// A reason code. Zero, "accepted", is no reason.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum Reason { $($(#[$doc])* #[doc = $en] $variant = $number,)* }

        impl Reason {
            /// Every reason, by number.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)*];

            /// The number that records carry.
            #[must_use]
            pub fn number(self) -> u32 { self as u32 }

            /// The reason of a number; `None` for 0 and for what this version does not know.
            #[must_use]
            pub fn from_number(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }

            /// The name for reports and scripts.
            #[must_use]
            pub fn name(self) -> &'static str { match self { $(Self::$variant => $name,)* } }

            /// One sentence for people, in English.
            #[must_use]
            pub fn english(self) -> &'static str { match self { $(Self::$variant => $en,)* } }

            /// One sentence for people, in Chinese.
            #[must_use]
            pub fn chinese(self) -> &'static str { match self { $(Self::$variant => $zh,)* } }
        }
    };
}

impl Reason {
    /// Whether it says more of the moment than of what was asked.
    #[must_use]
    pub fn is_passing(self) -> bool {
        matches!(
            self,
            Self::Busy | Self::NoLeader | Self::NoVaultKey | Self::Unknown | Self::Internal | Self::NotHereYet | Self::NotCosigned
        )
    }
}

reasons! {
    // 1-19: the envelope and the head of a command
    Malformed = 1, "malformed", "命令无法解析", "The command does not decode.";
    NotCanonical = 2, "not-canonical", "命令含未知字段或编码不规范", "The command has an unknown field or is not canonically encoded.";
    FormatVersion = 3, "format-version", "格式版本不支持", "The format version is not one this ledger reads.";
    Suite = 4, "suite", "密码套件不支持", "The cryptographic suite is not honoured.";
    WrongLedger = 5, "wrong-ledger", "命令属于另一个账本", "The command is for another ledger.";
    Expired = 6, "expired", "命令已过有效时限", "The command's not-after has passed.";
    Incomplete = 7, "incomplete", "缺少应有的签名", "A signature of a named signer is missing.";
    BadSignature = 8, "bad-signature", "签名不成立", "A signature does not hold.";
    NotYetHonoured = 9, "not-yet-honoured", "字段尚未支持", "A field is used that this version does not honour yet.";
    TooLarge = 10, "too-large", "命令超出大小限制", "The command is beyond a size limit.";
    PayloadType = 11, "payload-type", "载荷类型不支持", "The payload type is not one of this ledger's.";
    BesideMismatch = 12, "beside-mismatch", "随附内容与签名的摘要不符", "What travels beside the command does not match what is signed.";
    LifetimeTooLong = 13, "lifetime-too-long", "有效时限过长", "The command's not-after is too far ahead.";
    FieldForm = 14, "field-form", "字段缺失或格式不正确", "A field is missing or not of its form.";
    // 20-39: who signs
    UnknownSigner = 20, "unknown-signer", "签名密钥未登记", "A signing key is not registered.";
    SignerRevoked = 21, "signer-revoked", "签名密钥已撤销", "A signing key is revoked.";
    SignerNotInForce = 22, "signer-not-in-force", "签名密钥不在有效期内", "A signing key is not yet or no longer in force.";
    PostNotHeld = 23, "post-not-held", "签名人不担任该岗位", "A signer does not hold the post that is named.";
    PostMissing = 24, "post-missing", "缺少应签名的岗位", "A post that must sign has not signed.";
    SamePerson = 25, "same-person", "同一人以两个岗位签名", "One person signs in two posts.";
    WrongUnit = 26, "wrong-unit", "签名人不属于该单位", "A signer does not belong to the acting unit.";
    UnknownUnit = 27, "unknown-unit", "单位未登记", "The unit is not registered.";
    UnitSuspended = 28, "unit-suspended", "单位已暂停", "The unit is suspended.";
    UnitRole = 29, "unit-role", "单位没有相应职责", "The unit does not have the role that this needs.";
    OutsideDistrict = 30, "outside-district", "超出本区管理范围", "A district's managing unit acts only within its district.";
    SignerKind = 31, "signer-kind", "签名人类别不适用", "This kind of signer may not sign this command.";
    // 40-69: licences
    IdentifierFormat = 40, "identifier-format", "证照标识格式不正确", "The identifier is not of GB/T 36904's form.";
    IdentifierCheck = 41, "identifier-check", "证照标识校验位不正确", "The identifier's check character is wrong.";
    IdentifierMismatch = 42, "identifier-mismatch", "证照标识与类型或颁发机构不一致", "The identifier names another type or authority than the licence.";
    DuplicateIdentifier = 43, "duplicate-identifier", "证照标识已存在", "The identifier exists already.";
    VersionGap = 44, "version-gap", "版本号不连续", "The version does not follow: new licences start at 001, later ones at the next.";
    Schema = 45, "schema", "内容不符合证照类型规范", "The content does not fit the type's schema.";
    UnknownType = 46, "unknown-type", "证照类型未发布", "The licence type is not published.";
    IssuerNotAuthorised = 47, "issuer-not-authorised", "该单位无权签发此类证照", "The unit may not issue this type.";
    Validity = 48, "validity", "日期或有效期不正确", "A date is impossible, or the term does not fit.";
    HolderCode = 49, "holder-code", "持证主体代码不正确", "A holder's code fails its check.";
    HolderCodeUnusual = 50, "holder-code-unusual", "持证主体代码不符合公开校验规则,经签发单位确认", "A holder's code fails the published check but is lawful: taken on the issuer's confirmation.";
    StateSecret = 51, "state-secret", "涉及国家秘密,不得录入", "State secrets are not taken in.";
    UnknownLicence = 52, "unknown-licence", "证照不存在", "There is no such licence.";
    TransitionNotAllowed = 53, "transition-not-allowed", "当前状态不允许此变更", "The licence's state does not allow this change.";
    EffectiveInFuture = 54, "effective-in-future", "生效时间不得晚于当前时间", "A change may not take effect in the future.";
    LegalBasisMissing = 55, "legal-basis-missing", "缺少法律依据", "The change needs its legal basis.";
    ReasonMissing = 56, "reason-missing", "缺少事由", "The change needs its reason.";
    Stale = 57, "stale", "证照在查看之后已有变更", "The licence changed after the record that was seen.";
    TypeVersion = 58, "type-version", "证照类型版本不是现行版本", "The item is not of the type's current version.";
    HolderType = 59, "holder-type", "持证主体代码类型不适用", "The type does not take holders of this code type.";
    PersonalIdentifier = 60, "personal-identifier", "个人标识只能以密钥标签上链", "A personal identifier may stand on the chain only as a keyed tag.";
    FieldDigests = 61, "field-digests", "字段摘要不正确", "The field digests are not sorted, not whole, or do not match their classes.";
    PreviousMismatch = 62, "previous-mismatch", "前一版本不一致", "The previous version named is not the current one.";
    HolderChanged = 63, "holder-changed", "延续、补发不得变更持证主体", "A renewal or a replacement is for those who hold the licence.";
    EffectiveTooEarly = 64, "effective-too-early", "生效时间不得早于证照(版本)签发和生效之时,也不得早于所终止的变更", "A change may not take effect before the licence or its version was there, nor before the change that it ends.";
    // 70-89: units, operators, catalogue, policy
    AlreadyExists = 70, "already-exists", "已登记", "It is registered already.";
    UnitCode = 71, "unit-code", "统一社会信用代码不正确", "The unit's USCC fails its check.";
    UnknownRole = 72, "unknown-role", "职责未定义", "The role is not defined.";
    UnknownPost = 73, "unknown-post", "岗位未定义", "The post is not defined.";
    BadKey = 74, "bad-key", "公钥不规范", "The public key is not canonical or not torsion-free.";
    UnknownOperator = 75, "unknown-operator", "操作人员未登记", "There is no such operator.";
    TypeVersionGap = 76, "type-version-gap", "证照类型版本不连续", "The type's version does not follow the current one.";
    TypeInvalid = 77, "type-invalid", "证照类型定义不正确", "The type's definition is not valid.";
    UnknownPolicy = 78, "unknown-policy", "策略项未定义", "There is no policy of this key.";
    PolicyValue = 79, "policy-value", "策略值不正确", "The policy's value is not valid.";
    NothingToChange = 80, "nothing-to-change", "没有可变更的内容", "The state is already as asked.";
    CitationMissing = 81, "citation-missing", "缺少依据条文", "Policy needs the article that it cites.";
    Area = 82, "area", "区域与级别不符或不属于本市", "The area does not fit the level, or is not the city's.";
    LastOperators = 83, "last-operators", "管理单位须有在用密钥能登记操作人员、设定策略", "The city's managing unit keeps people with keys in force who can admit operators and set policy.";
    // 90-109: uses and erasure
    PurposeMissing = 90, "purpose-missing", "缺少用途或办件编号", "A use needs its case number and its purpose.";
    NotShared = 91, "not-shared", "该类证照不共享", "The type is not shared.";
    OutsideScope = 92, "outside-scope", "不在共享范围内", "The unit or mode is outside the sharing decision.";
    ConsentMissing = 93, "consent-missing", "缺少授权", "This authority needs a consent or use code.";
    FieldNotGranted = 94, "field-not-granted", "字段不予提供", "The field is not granted for this use.";
    UnknownField = 95, "unknown-field", "字段不存在", "The type has no such field.";
    ContentErased = 96, "content-erased", "内容已删除", "The content was erased.";
    Retention = 97, "retention", "保管期限未满", "The retention has not passed.";
    ArchiveReceiptMissing = 98, "archive-receipt-missing", "缺少归档回执", "Destruction needs the archive's receipt.";
    RecipientKey = 99, "recipient-key", "接收公钥不正确", "The recipient key is not valid.";
    NothingNamed = 100, "nothing-named", "未指明证照", "The use names neither a licence nor a holder.";
    ErasureNotPersons = 101, "erasure-not-persons", "该删除事由仅适用于自然人", "This ground for an erasure is of natural persons alone.";
    ContentRestricted = 102, "content-restricted", "内容待删除,现仅保存", "An erasure of the content waits: until then it is kept and not used.";
    ErasureUnconfirmed = 103, "erasure-unconfirmed", "删除待市级管理单位确认,现仅保存", "The erasure waits for the word of the city's managing unit: until then the content is kept and not used.";
    // 110-129: the door
    ContentDoesNotOpen = 110, "content-does-not-open", "内容无法解密", "The content does not open with the vault's key.";
    ContentDigest = 111, "content-digest", "内容与签名的摘要不符", "The content does not match the digests that are signed.";
    NoVaultKey = 112, "no-vault-key", "本节点无法解密内容", "No reachable node can open this content now.";
    Busy = 113, "busy", "系统繁忙,请稍后重试", "The queue is full: try again later.";
    NoLeader = 114, "no-leader", "暂无主节点,请稍后重试", "There is no leader now: try again later.";
    Unknown = 115, "unknown", "结果未知,请以同一命令重试", "The outcome is not known yet: ask again, or send the same command again.";
    NotAuthorised = 116, "not-authorised", "未获授权", "The caller may not ask this.";
    StatusClosed = 117, "status-closed", "该类证照状态不公开", "The type's status is not public: make a use.";
    ChallengeFailed = 118, "challenge-failed", "核对信息不一致或不可用于核对", "The field given does not match, or is no challenge.";
    WrapMissing = 119, "wrap-missing", "未加密给保管密钥", "The content is not wrapped to the vault keys that must open it.";
    Internal = 120, "internal", "节点内部错误", "The node could not answer; its log says why.";
    VaultKeyReplaced = 121, "vault-key-replaced", "保管密钥已更换,请用现行密钥重新加密", "The content is sealed to a vault key in whose place another serves: seal it to that one.";
    NotHereYet = 122, "not-here-yet", "本节点尚未补齐历史记录，请询问其他节点", "This node is still fetching older records: ask another.";
    NotCosigned = 123, "not-cosigned", "见证节点尚未联署足数,请稍后重试", "The quorum has not cosigned yet: ask again.";
    // 130-149: certificates and enrolment
    NoAuthority = 130, "no-authority", "账本未设证书签发机构", "The ledger has no certificate authority of its own.";
    BadCertificate = 131, "bad-certificate", "证书不符合规范", "The certificate is outside the profile.";
    WrongIssuer = 132, "wrong-issuer", "证书不是由现行签发机构签发", "The certificate was not issued by the authority that issues now.";
    SerialUsed = 133, "serial-used", "证书序列号已使用", "The certificate's serial number was used before.";
    CertificateTerm = 134, "certificate-term", "证书有效期不符合规定", "The certificate's dates do not fit the time of issue or the longest term.";
    CertificateSubject = 135, "certificate-subject", "证书内容与登记信息不一致", "The certificate says something else than the register.";
    UnknownCertificate = 136, "unknown-certificate", "证书不存在", "There is no such certificate.";
    CertificateRevoked = 137, "certificate-revoked", "证书已注销", "The certificate is revoked.";
    CertificateSuspended = 138, "certificate-suspended", "证书已暂停使用", "The certificate is suspended.";
    CertificateExpired = 139, "certificate-expired", "证书不在有效期内", "The certificate is not yet or no longer valid.";
    RevocationReason = 140, "revocation-reason", "注销原因代码不适用", "The reason for revoking is not one that applies here.";
    UnknownGrant = 141, "unknown-grant", "注册授权不存在", "There is no grant of enrolment for this token.";
    GrantUsed = 142, "grant-used", "注册授权已使用", "The grant of enrolment was used before.";
    GrantExpired = 143, "grant-expired", "注册授权已过期", "The grant of enrolment has expired.";
    GrantApplicant = 144, "grant-applicant", "注册授权不属于该申请人", "The grant of enrolment is for another applicant.";
    GrantTerm = 145, "grant-term", "注册授权期限不符合规定", "The grant would end in the past, or last too long.";
    RenewedAlready = 146, "renewed-already", "证书已更新", "The certificate was renewed before.";
    // 150-164: admission
    UnknownSystem = 150, "unknown-system", "节点或系统未申请接入", "No node or system of this name has applied.";
    AdmissionNotAllowed = 151, "admission-not-allowed", "当前接入状态不允许此操作", "The state of admission does not allow this step.";
    NotAdmitted = 152, "not-admitted", "尚未获准接入", "The node or system is not admitted.";
    RaftIdUsed = 153, "raft-id-used", "节点编号已使用,不得重复使用", "The node's id was used before; no id is used again.";
    Assessor = 154, "assessor", "检测单位不符合要求", "The report must be of an assessor that is not the applicant.";
    TestNotPassed = 155, "test-not-passed", "安全检测未通过", "The security test was not passed.";
    ReportDate = 156, "report-date", "检测日期不符合要求", "The test lies in the future or too long ago.";
    RiskGrade = 157, "risk-grade", "风险等级未定义", "The risk's grade is not defined.";
    LastCityNode = 158, "last-city-node", "不得断开最后一个市级节点", "The last node of the city stays connected.";
    PlanMissing = 159, "plan-missing", "缺少接入方案或安全能力评估报告", "A third party's system needs its access plan and its capability report.";
    NodeMajority = 160, "node-majority", "须保持半数以上节点接入:再断开须由审批、经办、核验岗位会签", "More than half of the nodes stay connected, unless those who approve admissions sign too.";
    // 165-169: administration
    SecondFactorMissing = 165, "second-factor-missing", "该岗位须与本人第二密钥一并签名", "This post signs only together with the same person's second key.";
    PostsIncompatible = 166, "posts-incompatible", "系统、安全、审计管理岗位不得兼任", "System, security and audit administration are held by different people.";
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A refusal: the reason, and what exactly, without any personal data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Refusal {
    /// The stable reason.
    pub reason: Reason,
    /// Which field or rule. Never a value that may be personal.
    pub detail: String,
}

impl Refusal {
    /// A refusal with its detail.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::new(reason, reason.english())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_one_to_one() {
        let mut names = std::collections::BTreeSet::new();
        for reason in Reason::ALL {
            assert_eq!(Reason::from_number(reason.number()), Some(*reason));
            assert!(names.insert(reason.name()));
        }
        assert_eq!(Reason::from_number(0), None);
    }
}
