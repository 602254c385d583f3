/** Names of agents in the chosen community, so that nobody need read a key. */

import { query } from "./api";
import { useLoad } from "./load";
import { community } from "./settings";
import type { Member } from "./types";
import { short } from "./units";

export interface Names {
  members: Member[];
  of: (agent: string) => string;
}

export function useNames(): Names {
  const members = useLoad<Member[]>(query("members", { community: community.value })).data ?? [];
  return {
    members,
    of: (agent) => members.find((each) => each.agent === agent)?.name || short(agent),
  };
}
