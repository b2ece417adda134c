"""prices.sync: list prices of a region, read page by page from the cloud's price API.

What a page gave is stored before the next one is read, and the same prices again change nothing, so a killed
worker costs one page. A price that changed is a new row from its day on.
"""

from costs.prices_feeds import pages_of, read_page
from costs.prices_sync import prices_store
from worker.handlers import OperationHandler, operation
from worker.outcomes import Cancelled, Done, Fail, Next, Outcome, Wait


@operation("prices.sync", first="begin", label="Sync of prices", deadline_seconds=3600)
class SyncPrices(OperationHandler):
    # The largest list, of machines in a busy region, takes minutes to stream.
    lease_seconds = 600

    @classmethod
    def title(cls, operation) -> str:
        return f"Sync of prices, {operation.input['cloud']} {operation.input['region']}"

    def begin(self) -> Outcome:
        pages = pages_of(self.input["cloud"], self.input["region"])
        self.state.update(pages=pages, lists=len(pages), done=0, read=0, changed=0)
        return Next(self.read, f"{len(pages)} price lists to read")

    def read(self) -> Outcome:
        cloud, region, pages = self.input["cloud"], self.input["region"], list(self.state["pages"])
        if not pages:
            return self._end()
        found = read_page(cloud, region, pages[0])
        with self.atomic():
            changed = prices_store(cloud=cloud, prices=found.prices)
        self.state["read"] += len(found.prices)
        self.state["changed"] += changed
        if found.next:
            pages[0] = found.next
        else:
            pages.pop(0)
            self.state["done"] += 1
        self.state["pages"] = pages
        if not pages:
            return self._end()
        percent = 100 * self.state["done"] // self.state["lists"]
        return Wait(0, f"price list {self.state['done'] + 1} of {self.state['lists']}", percent)

    def cancel(self) -> Outcome:
        return Cancelled("What was read stays.")

    def _end(self) -> Outcome:
        read, changed = self.state["read"], self.state["changed"]
        if not read:
            return Fail(
                "No price list had anything that is priced here.",
                code="no_prices",
                remedy="Check the region's name; the cloud's price lists may also have changed their form.",
            )
        return Done({"read": read, "changed": changed}, f"{read:,} prices read, {changed:,} new or changed")
