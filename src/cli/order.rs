//! `anabranch route`, `target`, `throttle`: a running engine is told what to do.

use super::reach::Reach;
use super::status::route_table;
use super::{Exit, Outcome, print};

/// The arguments of `route`.
#[derive(Debug, clap::Args)]
pub struct RouteArgs {
    /// What is to happen.
    #[command(subcommand)]
    pub order: RouteOrder,
}

/// What can happen to a route.
#[derive(Debug, clap::Subcommand)]
pub enum RouteOrder {
    /// Switches a route on; it stays so over restarts.
    Start(Route),
    /// Switches a route off, which finishes what is in flight; it stays so over restarts.
    Stop(Route),
}

/// A route.
#[derive(Debug, clap::Args)]
pub struct Route {
    /// Its name in the config.
    pub route: String,
    /// Where it is.
    #[command(flatten)]
    pub reach: Reach,
}

/// The arguments of `target`.
#[derive(Debug, clap::Args)]
pub struct TargetArgs {
    /// What is to happen.
    #[command(subcommand)]
    pub order: TargetOrder,
}

/// What can happen to a target.
#[derive(Debug, clap::Subcommand)]
pub enum TargetOrder {
    /// Writes it no more, until it is resumed; the others go on.
    Pause(Target),
    /// Goes on where it was paused.
    Resume(Target),
}

/// A target of a route.
#[derive(Debug, clap::Args)]
pub struct Target {
    /// The route's name.
    pub route: String,
    /// The target's name: the alias of its cluster.
    pub target: String,
    /// Where it is.
    #[command(flatten)]
    pub reach: Reach,
}

/// The arguments of `throttle`.
#[derive(Debug, clap::Args)]
pub struct ThrottleArgs {
    /// The route's name.
    pub route: String,
    /// The target's name: the alias of its cluster.
    pub target: String,
    /// The most that the route writes to it, such as 20MiB/s; or unlimited.
    pub rate: String,
    /// Where it is.
    #[command(flatten)]
    pub reach: Reach,
}

/// Switches a route.
pub fn route(args: &RouteArgs) -> Outcome {
    let view = match &args.order {
        RouteOrder::Start(Route { route, reach }) => reach.client()?.start(route)?,
        RouteOrder::Stop(Route { route, reach }) => reach.client()?.stop(route)?,
    };
    print(&route_table(&view))?;
    Ok(Exit::Done)
}

/// Pauses or resumes a target.
pub fn target(args: &TargetArgs) -> Outcome {
    let view = match &args.order {
        TargetOrder::Pause(Target { route, target, reach }) => reach.client()?.pause(route, target)?,
        TargetOrder::Resume(Target { route, target, reach }) => reach.client()?.resume(route, target)?,
    };
    print(&route_table(&view))?;
    Ok(Exit::Done)
}

/// Sets the bandwidth of a target.
pub fn throttle(args: &ThrottleArgs) -> Outcome {
    let view = args.reach.client()?.throttle(&args.route, &args.target, &args.rate)?;
    print(&route_table(&view))?;
    Ok(Exit::Done)
}
