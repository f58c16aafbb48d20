use super::super::units::Unit;
use super::*;
use crate::identity::SigningIdentity;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

#[allow(clippy::disallowed_methods)]
fn now() -> SystemTime {
    SystemTime::now()
}

struct Ca {
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

fn params(name: &str, units: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = ((now() - HOUR).into(), (now() + HOUR).into());
    params.distinguished_name = DistinguishedName::new();
    for (unit, kind) in
        units.iter().zip([DnType::OrganizationalUnitName, DnType::CustomDnType(vec![2, 5, 4, 11])])
    {
        params.distinguished_name.push(kind, *unit);
    }
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params
}

const HOUR: Duration = Duration::from_secs(3600);

fn authority(name: &str, above: Option<&Ca>) -> Ca {
    let key = KeyPair::generate().unwrap();
    let mut params = params(name, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = match above {
        Some(above) => params.signed_by(&key, &above.issuer).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    Ca { der: certificate.der().clone(), issuer: Issuer::new(params, key) }
}

/// A member with these units; its issuer's signature has a low s.
fn member_by(ca: &Ca, params: &CertificateParams) -> Identity {
    let key = KeyPair::generate().unwrap();
    let der = params.signed_by(&key, &ca.issuer).unwrap().der().clone();
    let low = crate::identity::encoding::with_low_s(&der, crate::identity::ecdsa::Curve::P256).unwrap();
    SigningIdentity::new("Org1MSP", &low, &key.serialize_der()).unwrap().identity().clone()
}

fn member(ca: &Ca, units: &[&str]) -> Identity {
    member_by(ca, &params("somebody", units))
}

fn units(enforced: bool, roles: &[(Role, &str)], issuer: Option<&Ca>) -> Units {
    let unit = |name: &str| Unit { name: name.to_owned(), issuer: issuer.map(|ca| ca.der.clone()) };
    Units {
        enforced,
        roles: roles.iter().map(|(role, name)| (*role, unit(name))).collect(),
        required: Vec::new(),
    }
}

const ALL: [(Role, &str); 4] =
    [(Role::Client, "client"), (Role::Peer, "peer"), (Role::Admin, "admin"), (Role::Orderer, "orderer")];

fn msp(parts: MspParts) -> Msp {
    Msp::new("Org1MSP", parts).unwrap()
}

fn parts(root: &Ca) -> MspParts {
    MspParts { roots: vec![root.der.clone()], ..MspParts::default() }
}

/// As Fabric judges them (fabric msp/mspimplvalidate.go, validateIdentityOUsV142).
#[test]
fn with_node_ous_exactly_one_role_is_asked_for() {
    let root = authority("root", None);
    let on = msp(MspParts { units: units(true, &ALL, None), ..parts(&root) });
    for (role, unit) in ALL {
        assert_eq!(on.validate(&member(&root, &[unit]), now()), Ok(role));
        assert_eq!(on.validate(&member(&root, &["department1", unit]), now()), Ok(role));
    }
    for wrong in
        [&[][..], &["department1"], &["Peer"], &["peer", "client"], &["peer", "peer"], &["admin", "peer"]]
    {
        let refused = on.validate(&member(&root, wrong), now());
        assert!(matches!(refused, Err(IdentityFault::Units { .. })), "{wrong:?}: {refused:?}");
    }
    // Off, or on without a single role, nothing is asked for.
    for quiet in [units(false, &ALL, None), units(true, &[], None)] {
        let msp = msp(MspParts { units: quiet, ..parts(&root) });
        assert_eq!(msp.validate(&member(&root, &[]), now()), Ok(Role::Member));
        assert_eq!(msp.validate(&member(&root, &["peer", "client"]), now()), Ok(Role::Member));
    }
    // A role that is not given is no role.
    let peers = msp(MspParts { units: units(true, &[(Role::Peer, "peer")], None), ..parts(&root) });
    assert_eq!(peers.validate(&member(&root, &["client", "peer"]), now()), Ok(Role::Peer));
    assert!(peers.validate(&member(&root, &["client"]), now()).is_err());
}

#[test]
fn a_unit_counts_under_its_ca() {
    let (one, two) = (authority("one", None), authority("two", None));
    let roots = vec![one.der.clone(), two.der.clone()];
    let strict =
        msp(MspParts { roots: roots.clone(), units: units(true, &ALL, Some(&one)), ..MspParts::default() });
    assert_eq!(strict.validate(&member(&one, &["peer"]), now()), Ok(Role::Peer));
    assert!(strict.validate(&member(&two, &["peer"]), now()).is_err());
    let stranger = authority("stranger", None);
    let fault = Msp::new("Org1MSP", MspParts { units: units(true, &ALL, Some(&stranger)), ..parts(&one) });
    assert!(matches!(fault, Err(MspFault::Unit(_))));

    let required = vec![Unit { name: "commercial".to_owned(), issuer: Some(one.der.clone()) }];
    let asked = Units { enforced: false, roles: Vec::new(), required };
    let asking = msp(MspParts { roots, units: asked, ..MspParts::default() });
    assert_eq!(asking.validate(&member(&one, &["x", "commercial"]), now()), Ok(Role::Member));
    for refused in [member(&one, &["x"]), member(&one, &[]), member(&two, &["commercial"])] {
        assert!(matches!(asking.validate(&refused, now()), Err(IdentityFault::Units { .. })));
    }
}

/// Members' certificates come from CAs without CAs below them (fabric msp/mspimpl.go, getValidationChain).
#[test]
fn only_the_lowest_cas_issue_members() {
    let root = authority("root", None);
    let (middle, aside) = (authority("middle", Some(&root)), authority("aside", Some(&root)));
    let low = authority("low", Some(&middle));
    let intermediates = vec![low.der.clone(), middle.der.clone(), aside.der.clone()];
    let tree = msp(MspParts { intermediates, ..parts(&root) });
    assert_eq!(tree.validate(&member(&low, &[]), now()), Ok(Role::Member));
    assert_eq!(tree.validate(&member(&aside, &[]), now()), Ok(Role::Member));
    for inner in [&root, &middle] {
        assert!(matches!(tree.validate(&member(inner, &[]), now()), Err(IdentityFault::InnerAuthority(_))));
    }
    // Without the CA between there is no way up.
    let fault = Msp::new("Org1MSP", MspParts { intermediates: vec![low.der.clone()], ..parts(&root) });
    assert!(matches!(fault, Err(MspFault::Authority { which: "intermediate", .. })));
    let refused = msp(parts(&root)).validate(&member(&middle, &[]), now()).unwrap_err().to_string();
    assert!(refused.contains("--trust Org1MSP=DIR") && refused.contains("middle"), "{refused}");
}

#[test]
fn cas_are_no_members_and_members_no_cas() {
    let root = authority("root", None);
    let below = authority("below", Some(&root));
    let own = msp(parts(&root));
    let mut ca = params("somebody", &[]);
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    assert_eq!(own.validate(&member_by(&root, &ca), now()), Err(IdentityFault::Authority));
    let peer = member(&root, &[]).certificate().clone();
    for parts in [
        MspParts { roots: vec![peer.clone()], ..MspParts::default() },
        MspParts { intermediates: vec![peer], ..parts(&root) },
        MspParts { roots: vec![CertificateDer::from(vec![0x30, 0])], ..MspParts::default() },
    ] {
        assert!(matches!(Msp::new("Org1MSP", parts), Err(MspFault::Authority { .. })));
    }
    assert_eq!(Msp::new("Org1MSP", MspParts::default()).unwrap_err(), MspFault::NoRoot);
    drop(below);
}

/// What counts is the certificate's own end (fabric msp/mspimplvalidate.go, getValidityOptsForCert).
#[test]
fn expiry_is_that_of_the_member_alone() {
    let root = authority("root", None);
    let own = msp(parts(&root));
    let mut long = params("somebody", &[]);
    long.not_after = (now() + HOUR * 100).into();
    let long = member_by(&root, &long);
    assert_eq!(own.validate(&long, now() + HOUR * 99), Ok(Role::Member), "its CA has expired since");
    assert!(matches!(own.validate(&long, now() + HOUR * 101), Err(IdentityFault::Expired { .. })));
    let mut early = params("somebody", &[]);
    early.not_before = (now() - HOUR * 2).into();
    assert!(own.validate(&member_by(&root, &early), now()).is_err(), "older than its CA");
}

#[test]
fn the_same_name_from_another_ca_is_a_stranger() {
    let (root, twin) = (authority("root", None), authority("root", None));
    let own = msp(parts(&root));
    assert!(matches!(own.validate(&member(&twin, &[]), now()), Err(IdentityFault::Chain { .. })));
    let other = Msp::new("Org2MSP", parts(&root)).unwrap();
    assert!(matches!(other.validate(&member(&root, &[]), now()), Err(IdentityFault::UnknownOrganisation(_))));
}
