/** What the node's REST interface answers; quantities are integers with their unit in the name. */

interface CommunityStatus {
  name: string;
  dna: string;
  agent: string;
  members: number;
  chain_seq: number;
  unpublished: number;
}

export interface Status {
  role: string;
  name: string;
  agent: string;
  version: string;
  communities: CommunityStatus[];
  faults: string[];
}

type Capability = "switch" | "limit" | "battery";

export interface Device {
  agent: string;
  name: string;
  kind: string;
  community: string;
  state: string;
  visibility: string | null;
  /** What the community sees of its meter: "readings" or "nothing". */
  share: string | null;
  /** + import, − export. */
  power_milli_w: number | null;
  switched_on: boolean | null;
  can: Capability[];
  stored_bp: number | null;
  at_us: number | null;
  why: string;
}

export interface NearDevice {
  agent: string;
  name: string;
  kind: string;
  state: string;
}

export interface Member {
  agent: string;
  name: string;
  kind: string;
  near: boolean;
  reputation: number | null;
}

export interface Peer {
  agent: string;
  name: string;
  role: string;
  arc: string;
  addresses: string[];
  asked_at_us: number;
  score_points: number;
  charges: number;
  last_charge: string;
  shunned_s: number;
  slowed: boolean;
  warranted: boolean;
  refuses_us: string;
}

export interface WalletEntry {
  at_us: number;
  direction: "in" | "out";
  counterparty: string;
  micro_credits: number;
  kind: string;
  energy_milli_wh: number | null;
  final: boolean;
  why: string;
  hash: string;
}

export interface Wallet {
  balance_micro_credits: number;
  pending_micro_credits: number;
  limit_micro_credits: number;
  entries: WalletEntry[];
  next: number | null;
}

export interface Alert {
  id: number;
  at_us: number;
  kind: string;
  text: string;
}

export interface Point {
  start_us: number;
  import_milli_wh: number;
  export_milli_wh: number;
  estimated: boolean;
}

export interface History {
  points: Point[];
  complete: boolean;
}

/** Grid: + import, − export.  Battery: + discharge, − charge.  Solar and home are never negative. */
export interface Flow {
  at_us: number;
  solar_milli_w: number | null;
  battery_milli_w: number | null;
  grid_milli_w: number | null;
  home_milli_w: number | null;
  /** What is used where no consumer's meter counts it. */
  rest_milli_w: number | null;
  grid_measured: boolean;
  devices: FlowDevice[];
}

export interface FlowDevice {
  agent: string;
  name: string;
  kind: string;
  power_milli_w: number | null;
}

export interface SankeyData {
  nodes: { id: string; name: string; kind: string }[];
  links: { source: string; target: string; milli_wh: number }[];
}

export type Side = "offer" | "bid";

export interface Order {
  hash: string;
  agent: string;
  side: Side;
  milli_wh: number;
  price_micro_credits_per_kwh: number;
  start_us: number;
  end_us: number;
  ours: boolean;
}

interface Match {
  at_us: number;
  seller: string;
  buyer: string;
  milli_wh: number;
  price_micro_credits_per_kwh: number;
  why: string;
}

export interface Market {
  orders: Order[];
  matches: Match[];
  price_micro_credits_per_kwh: number | null;
}

export interface SettingSchema {
  type?: string;
  title?: string;
  description?: string;
  enum?: (string | number)[];
  minimum?: number;
  maximum?: number;
}

export interface Decision {
  at_us: number;
  what: string;
  why: string;
  micro_per_kwh: number | null;
  threshold_micro: number | null;
  saved_milli_wh: number | null;
  earns_micro: number | null;
}

/** An app beside a device; without a name: a device that does not answer. */
export interface App {
  name: string | null;
  device: string;
  device_name: string;
  schema: { properties?: Record<string, SettingSchema> };
  settings: Record<string, unknown>;
  decisions: Decision[];
  why: string;
}

export interface Carbon {
  import_milli_wh: number | null;
  g_co2: number | null;
  clean_bp: number | null;
  by_source: { name: string; kind: string; milli_wh: number; g_co2: number | null }[];
}
