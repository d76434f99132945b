//! GetCapacity: what a new volume of a class could take on a node, by the same judgement as its placement.

use csi_proto_rs::csi::v1::{GetCapacityRequest, GetCapacityResponse};
use terrace_crds::volume::FsType;
use terrace_plan::capability::validate_capabilities;
use terrace_plan::capacity::{filesystem_unsaid, plan_capacity};
use terrace_plan::create::{default_fs, minimum_of};
use terrace_plan::parameters::{Erase, ParameterError, Target, ValidParameters, parse_parameters};
use terrace_plan::placement::Ask;
use terrace_plan::size::Content;
use terrace_plan::topology::Topology;
use terrace_plan::world::World;

use super::{Service, wire};
use crate::error::Error;

/// What could be taken now.
///
/// # Errors
/// [`Error`] for parameters, capabilities or a topology that no volume could have.
pub fn capacity(
    service: &Service,
    request: GetCapacityRequest,
) -> Result<GetCapacityResponse, Error> {
    let world = service.promises.overlay(service.caches.world());
    let (ask, own) = parse(&world, request)?;
    let capacity = plan_capacity(&world, &ask);
    let minimum = minimum_of(ask.fs_type.map_or(Content::Block, Content::Filesystem), own);
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    Ok(GetCapacityResponse {
        available_capacity: signed(capacity.available),
        maximum_volume_size: Some(signed(capacity.maximum)),
        minimum_volume_size: Some(signed(minimum)),
    })
}

/// What is asked, and the filesystem that the pools asked for have of their own.
fn parse(world: &World, request: GetCapacityRequest) -> Result<(Ask, FsType), Error> {
    let GetCapacityRequest { volume_capabilities, parameters, accessible_topology } = request;
    let parameters = wire::sorted(parameters);
    let default_fs = default_fs(&world.pools, &parameters);
    let (target, parameter, erase) = match parse_parameters(&parameters) {
        Ok(ValidParameters { target, fs_type, erase, latency: _, claim: _ }) => {
            (target, fs_type, erase)
        }
        // Asked without a class: of all pools.
        Err(ParameterError::NoTarget) => (Target::Any, None, Erase::Leave),
        Err(error) => return Err(error.into()),
    };
    let fs_type = if volume_capabilities.is_empty() {
        filesystem_unsaid(parameter, default_fs)
    } else {
        let asked = wire::parse_capabilities(volume_capabilities);
        match validate_capabilities(&asked, parameter, default_fs)?.content {
            Content::Filesystem(fs) => Some(fs),
            Content::Block => None,
        }
    };
    let terms: Vec<_> =
        accessible_topology.into_iter().map(|term| wire::sorted(term.segments)).collect();
    let topology = Topology::parse(&terms, &[])?;
    Ok((Ask { bytes: 0, target, topology, fs_type, erase, at: None }, default_fs))
}
