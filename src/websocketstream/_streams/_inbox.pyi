from abc import ABCMeta

from .inbox import PortableInbox

class Inbox(PortableInbox, metaclass=ABCMeta): ...
