//! The six kinds before a real API server: it takes their definitions and every good example, and refuses every
//! bad one with the sentence beside it. The kinds are installed under groups of their own, so that neither Terrace,
//! where it runs, nor its admission policies have a say: only the schema is tried.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::runtime::wait::{await_condition, conditions::is_crd_established};
use kube::{Api, Client, Resource, ResourceExt};
use terrace_crds::{
    GROUP, LifecyclePolicy, StorageNode, StoragePool, StorageVolume, TieringPolicy, VERSION, kinds,
    snapshot::StorageSnapshot,
};
use terrace_e2e::examples::{self, Bad};
use terrace_e2e::rig;
use terrace_e2e::schema::{Constraint, constraints, without_numbers};

const DEADLINE: Duration = Duration::from_secs(30);

/// The kinds under another group, for as long as one test runs.
struct Kinds {
    client: Client,
    group: &'static str,
}

impl Kinds {
    async fn install(group: &'static str) -> Result<Self> {
        let client = rig::client().await?;
        let api: Api<CustomResourceDefinition> = Api::all(client.clone());
        for crd in kinds() {
            let crd = renamed(crd, group);
            let name = crd.name_any();
            let apply = PatchParams::apply("terrace-e2e").force();
            api.patch(&name, &apply, &Patch::Apply(&crd)).await.with_context(|| name.clone())?;
            let established = await_condition(api.clone(), &name, is_crd_established());
            tokio::time::timeout(DEADLINE, established).await.with_context(|| name.clone())??;
        }
        Ok(Self { client, group })
    }

    fn api(&self, object: &DynamicObject) -> Api<DynamicObject> {
        let kind = object.types.as_ref().map_or("", |types| &types.kind);
        let crd = kinds().into_iter().find(|crd| crd.spec.names.kind == kind);
        let plural = crd.map_or_else(String::new, |crd| crd.spec.names.plural);
        let gvk = GroupVersionKind::gvk(self.group, VERSION, kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, &plural);
        match object.namespace() {
            Some(namespace) => Api::namespaced_with(self.client.clone(), &namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }

    /// Creates it; a definition that is established may still take a moment until it is served.
    async fn create(&self, object: &DynamicObject) -> kube::Result<DynamicObject> {
        let object = with_group(object, self.group);
        let end = tokio::time::Instant::now() + DEADLINE;
        loop {
            let done = self.api(&object).create(&PostParams::default(), &object).await;
            match done {
                Err(kube::Error::Api(status))
                    if is_not_served(&status) && tokio::time::Instant::now() < end =>
                {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                done => return done,
            }
        }
    }

    async fn uninstall(self) -> Result<()> {
        let api: Api<CustomResourceDefinition> = Api::all(self.client);
        for crd in kinds() {
            let name = renamed(crd, self.group).name_any();
            api.delete(&name, &DeleteParams::default()).await?;
        }
        Ok(())
    }
}

fn is_not_served(status: &kube::core::Status) -> bool {
    let unnamed = status.details.as_ref().is_none_or(|details| details.name.is_empty());
    status.code == 404
        && (unnamed || status.message.contains("could not find the requested resource"))
}

fn renamed(mut crd: CustomResourceDefinition, group: &str) -> CustomResourceDefinition {
    crd.spec.group = group.to_owned();
    crd.metadata.name = Some(format!("{}.{group}", crd.spec.names.plural));
    crd.spec.names.short_names = None;
    crd.spec.names.categories = None;
    crd
}

fn with_group(object: &DynamicObject, group: &str) -> DynamicObject {
    let mut object = object.clone();
    if let Some(types) = &mut object.types {
        types.api_version = types.api_version.replace(GROUP, group);
    }
    // Nobody is there to take a finalizer off.
    object.metadata.finalizers = None;
    object
}

#[tokio::test]
async fn the_api_server_takes_the_definitions_as_they_are_shipped() -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(rig::client().await?);
    for crd in kinds() {
        let name = crd.name_any();
        let dry = PatchParams::apply("terrace-e2e").force().dry_run();
        api.patch(&name, &dry, &Patch::Apply(&crd)).await.with_context(|| name.clone())?;
        let file = rig::repository().join(format!("crds/yaml/{}.yaml", crd.spec.names.plural));
        let shipped: Vec<CustomResourceDefinition> =
            terrace_crds::yaml::from_yaml(&std::fs::read_to_string(file)?)?;
        ensure!(shipped == [crd], "crds/yaml does not hold the definition of {name}: run hack/gen");
    }
    Ok(())
}

#[tokio::test]
async fn every_good_example_is_taken_and_kept_whole() -> Result<()> {
    let kinds = Kinds::install("good.terrace.storage").await?;
    for (name, document) in examples::good()? {
        let kept = kinds.create(&document).await.with_context(|| name.clone())?;
        let (want, have) = (&document.data["spec"], &kept.data["spec"]);
        ensure!(contains(have, want), "{name}: the API server kept {have} of {want}");
    }
    kinds.uninstall().await
}

/// Whether `have` says all that `want` says; defaults may have been added.
fn contains(have: &serde_json::Value, want: &serde_json::Value) -> bool {
    use serde_json::Value::{Array, Bool, Null, Number, Object, String};
    match want {
        Object(fields) => fields.iter().all(|(key, value)| contains(&have[key], value)),
        Array(items) => {
            have.as_array().is_some_and(|there| there.len() == items.len())
                && items.iter().enumerate().all(|(at, item)| contains(&have[at], item))
        }
        Number(number) => have.as_f64() == number.as_f64(),
        Null | Bool(_) | String(_) => have == want,
    }
}

#[tokio::test]
async fn every_bad_example_is_refused_with_its_sentence() -> Result<()> {
    let kinds = Kinds::install("bad.terrace.storage").await?;
    let mut wrong = Vec::new();
    for Bad { name, before, asked, sentence } in examples::bad()? {
        let answer = match before {
            None => kinds.create(&asked).await,
            Some(before) => {
                let there = kinds.create(&before).await.with_context(|| name.clone())?;
                let mut asked = with_group(&asked, kinds.group);
                asked.metadata.resource_version = there.resource_version();
                let api = kinds.api(&asked);
                let answer = api.replace(&there.name_any(), &PostParams::default(), &asked).await;
                api.delete(&there.name_any(), &DeleteParams::default()).await?;
                answer
            }
        };
        match answer {
            Err(kube::Error::Api(status)) if status.message.contains(&sentence) => {}
            Err(other) => wrong.push(format!("{name}: wanted {sentence:?}, got {other}")),
            Ok(taken) => {
                kinds.api(&taken).delete(&taken.name_any(), &DeleteParams::default()).await?;
                wrong.push(format!("{name}: was taken; wanted {sentence:?}"));
            }
        }
    }
    kinds.uninstall().await?;
    ensure!(wrong.is_empty(), "{} bad examples went wrong:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

#[test]
fn every_rule_enum_and_bound_has_a_bad_example() -> Result<()> {
    let bad = examples::bad()?;
    let mut bare: BTreeSet<Constraint> = kinds().iter().flat_map(constraints).collect();
    ensure!(bare.len() > 100, "only {} constraints were found: the walk is broken", bare.len());
    for Bad { asked, sentence, .. } in &bad {
        let kind = asked.types.as_ref().map_or("", |types| &types.kind);
        let said = without_numbers(sentence);
        bare.retain(|constraint| {
            let Constraint { kind: of, path, says } = constraint;
            // A rule that one field's schema repeats is named with its path, a rule of the whole object by its words.
            of != kind
                || !(said.starts_with(&format!("{path}:")) && said.contains(&without_numbers(says)))
        });
    }
    let listed: Vec<String> = bare
        .iter()
        .map(|Constraint { kind, path, says }| format!("{kind} {path}: {says}"))
        .collect();
    ensure!(bare.is_empty(), "no bad example for:\n{}", listed.join("\n"));
    Ok(())
}

#[test]
fn every_good_example_is_what_the_types_say_nothing_more_nothing_less() -> Result<()> {
    let mut seen = BTreeSet::new();
    for (name, document) in examples::good()? {
        let kind = document.types.as_ref().map_or("", |types| &types.kind).to_owned();
        let whole = serde_json::to_value(&document)?;
        let again = match kind.as_str() {
            "StorageVolume" => through::<StorageVolume>(&whole),
            "StorageSnapshot" => through::<StorageSnapshot>(&whole),
            "StoragePool" => through::<StoragePool>(&whole),
            "StorageNode" => through::<StorageNode>(&whole),
            "TieringPolicy" => through::<TieringPolicy>(&whole),
            "LifecyclePolicy" => through::<LifecyclePolicy>(&whole),
            other => anyhow::bail!("{name}: there is no kind {other}"),
        }
        .with_context(|| name.clone())?;
        ensure!(contains(&again, &whole), "{name}: of {whole} only {again} was understood");
        seen.insert(kind);
    }
    ensure!(seen.len() == kinds().len(), "kinds without a good example; there are {seen:?}");
    Ok(())
}

fn through<K>(whole: &serde_json::Value) -> Result<serde_json::Value>
where
    K: Resource + serde::de::DeserializeOwned + serde::Serialize,
{
    let typed: K = serde_json::from_value(whole.clone())?;
    Ok(serde_json::to_value(typed)?)
}
